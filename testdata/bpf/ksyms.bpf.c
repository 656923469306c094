// Variables and addresses of the kernel: with a type, without one, weak, absent.
#include "bpf.h"

#define UNUSED __attribute__((unused))
#define KSYM __attribute__((section(".ksyms")))
#define WEAK __attribute__((weak))

struct rq {
	unsigned int nr_running;
} __attribute__((preserve_access_index));

extern const struct rq runqueues KSYM;
extern const int bpf_prog_active KSYM WEAK;
extern const void vfs_read KSYM;
extern const void twinbpf_no_such_address KSYM WEAK;
extern const int twinbpf_no_such_variable KSYM WEAK;

static const void *(*const bpf_this_cpu_ptr)(const void *variable) = (void *)BPF_FUNC_this_cpu_ptr;

unsigned long long seen[4];

SEC("raw_tracepoint/sys_enter")
int reads_per_cpu(void *context UNUSED)
{
	const struct rq *own = bpf_this_cpu_ptr(&runqueues);
	seen[0] = own->nr_running;
	seen[1] = (unsigned long long)&bpf_prog_active != 0;
	return 0;
}

SEC("socket")
int takes_addresses(void *context UNUSED)
{
	seen[2] = (unsigned long long)&vfs_read;
	return 0;
}

SEC("socket")
int does_without(void *context UNUSED)
{
	static void (*const nothing)(void) = (void *)12345;
	if (&twinbpf_no_such_address)
		nothing();
	if (&twinbpf_no_such_variable)
		nothing();
	seen[3] = 7;
	return 1;
}

LICENSE("GPL");
