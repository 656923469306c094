// One program for each way in which something of the kernel can be missing.
#include "bpf.h"

#define UNUSED __attribute__((unused))
#define KCONFIG __attribute__((section(".kconfig")))
#define KSYM __attribute__((section(".ksyms")))

struct task_struct;
struct rq;

extern int CONFIG_TWINBPF_NEEDED KCONFIG;
extern int CONFIG_DEFAULT_HOSTNAME KCONFIG;
extern struct rq *CONFIG_NET KCONFIG;
extern const struct rq twinbpf_needed_variable KSYM;
extern const int runqueues KSYM;
extern const void twinbpf_needed_address KSYM;
extern void bpf_task_releese(struct task_struct *task) KSYM;
extern void bpf_task_release(int task) KSYM;
extern int twinbpf_nowhere(void);

SEC("?syscall")
int needs_option(void *context UNUSED)
{
	return CONFIG_TWINBPF_NEEDED;
}

SEC("?syscall")
int wants_text_as_number(void *context UNUSED)
{
	return CONFIG_DEFAULT_HOSTNAME;
}

SEC("?syscall")
int wants_pointer(void *context UNUSED)
{
	return CONFIG_NET != 0;
}

SEC("?syscall")
int needs_variable(void *context UNUSED)
{
	unsigned long long address = (unsigned long long)&twinbpf_needed_variable;
	OPAQUE(address);
	return address != 0;
}

SEC("?syscall")
int misdeclares_variable(void *context UNUSED)
{
	unsigned long long address = (unsigned long long)&runqueues;
	OPAQUE(address);
	return address != 0;
}

SEC("?syscall")
int needs_address(void *context UNUSED)
{
	unsigned long long address = (unsigned long long)&twinbpf_needed_address;
	OPAQUE(address);
	return address != 0;
}

SEC("?syscall")
int mistypes_function(struct task_struct *task)
{
	bpf_task_releese(task);
	return 0;
}

SEC("?syscall")
int misdeclares_function(void *context UNUSED)
{
	bpf_task_release(1);
	return 0;
}

SEC("?syscall")
int says_not_where(void *context UNUSED)
{
	return twinbpf_nowhere();
}

SEC("syscall")
int needs_nothing(void *context UNUSED)
{
	return 0;
}

LICENSE("GPL");
