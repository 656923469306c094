/* Programs that the kernel calls from its own functions, or in their place, each of which counts how often it ran.
 * expect: accepted by kernels that trace functions; what runs when, `crates/twinbpf/tests/attach/traced.rs` says */
#include "bpf.h"

#define EPERM 1

static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)BPF_FUNC_get_current_pid_tgid;
static __u64 (*const bpf_get_attach_cookie)(void *context) = (void *)BPF_FUNC_get_attach_cookie;

/* Only this process counts, and only its requests are refused. */
volatile const __u32 process = 0;

__u64 enter_runs = 0;
__u64 enter_nice = 0;
__u64 cookie_seen = 0;
__u64 exit_runs = 0;
__u64 exit_answer = 0;
__u64 refused_runs = 0;
__u64 guard_runs = 0;
__u64 module_runs = 0;

static __attribute__((always_inline)) int is_ours(void)
{
	return bpf_get_current_pid_tgid() >> 32 == process;
}

/* A function that every change of a process's priority asks: int security_task_setnice(struct task_struct *, int). */

SEC("fentry/security_task_setnice")
int enter(const __u64 *arguments)
{
	if (is_ours()) {
		__sync_fetch_and_add(&enter_runs, 1);
		enter_nice = arguments[1];
	}
	return 0;
}

SEC("fexit/security_task_setnice")
int leave(const __u64 *arguments)
{
	if (is_ours()) {
		__sync_fetch_and_add(&exit_runs, 1);
		exit_answer = arguments[2];
	}
	return 0;
}

SEC("fentry/security_task_setnice")
int recognise(const __u64 *arguments)
{
	if (is_ours())
		cookie_seen = bpf_get_attach_cookie((void *)arguments);
	return 0;
}

SEC("fmod_ret/security_task_setnice")
int refuse(const __u64 *arguments)
{
	(void)arguments;
	if (!is_ours())
		return 0;
	__sync_fetch_and_add(&refused_runs, 1);
	return -EPERM;
}

SEC("lsm/task_setnice")
int guard(const __u64 *arguments)
{
	(void)arguments;
	if (!is_ours())
		return 0;
	__sync_fetch_and_add(&guard_runs, 1);
	return -EPERM;
}

/* A function of the module `veth`: what it sends. */
SEC("fentry/veth_xmit")
int sent(const __u64 *arguments)
{
	(void)arguments;
	__sync_fetch_and_add(&module_runs, 1);
	return 0;
}

LICENSE("GPL");
