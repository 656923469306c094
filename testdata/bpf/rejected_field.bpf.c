/* A field that no kernel has, read with CO-RE.
 * expect: L005, with type and field */
#include "bpf.h"

struct task_struct {
	int pid;
	int no_such_field;
} __attribute__((preserve_access_index));

static void *(*const bpf_get_current_task)(void) = (void *)BPF_FUNC_get_current_task;
static long (*const bpf_probe_read_kernel)(void *into, __u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel;

SEC("raw_tracepoint/sys_enter")
int look(void *ctx)
{
	struct task_struct *task = bpf_get_current_task();
	int value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), &task->no_such_field);
	return ctx && (value & 1);
}

LICENSE("GPL");
