// Functions of the kernel: called, asked for, weak and absent, declared in several ways.
#include "bpf.h"

#define UNUSED __attribute__((unused))
#define KSYM __attribute__((section(".ksyms")))
#define WEAK __attribute__((weak))

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

extern struct task_struct *bpf_task_from_pid(int pid) KSYM;
extern void bpf_task_release(struct task_struct *task) KSYM;
// The kernel's takes one more argument: weak and guarded, this declaration is absent.
extern struct task_struct *bpf_task_from_pid___other(int pid, int namespace) KSYM WEAK;
extern struct task_struct *bpf_task_from_pid___same(int pid) KSYM WEAK;
extern void twinbpf_no_such_function(void) KSYM WEAK;

int found;

SEC("syscall")
int finds(void *context UNUSED)
{
	struct task_struct *task = bpf_task_from_pid(1);
	if (!task)
		return 1;
	found = task->pid;
	bpf_task_release(task);
	return 0;
}

SEC("syscall")
int chooses(void *context UNUSED)
{
	struct task_struct *task = 0;
	if (bpf_task_from_pid___other)
		task = bpf_task_from_pid___other(1, 2);
	else if (bpf_task_from_pid___same)
		task = bpf_task_from_pid___same(1);
	if (twinbpf_no_such_function)
		twinbpf_no_such_function();
	if (!task)
		return 1;
	bpf_task_release(task);
	return 0;
}

SEC("?syscall")
int calls_unasked(void *context UNUSED)
{
	twinbpf_no_such_function();
	return 0;
}

LICENSE("GPL");
