/* One program per sort of hook, each of which counts how often it ran.
 * expect: accepted by the kernel; what runs when, `crates/twinbpf/tests/attach.rs` says */
#include "bpf.h"

#define ALLOW 1
#define TCX_GO_ON -1
#define NF_GO_ON 1

static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)BPF_FUNC_get_current_pid_tgid;
static __u64 (*const bpf_get_attach_cookie)(void *context) = (void *)BPF_FUNC_get_attach_cookie;
static long (*const bpf_seq_write)(void *seq, const void *data, __u32 len) = (void *)BPF_FUNC_seq_write;
static __u32 (*const bpf_get_hash_recalc)(void *skb) = (void *)BPF_FUNC_get_hash_recalc;
static void (*const bpf_set_hash_invalid)(void *skb) = (void *)BPF_FUNC_set_hash_invalid;

/* Only this process counts where a hook sees all of them. */
volatile const __u32 process = 0;
/* Whether programs can ask for cookies: since 5.15. */
volatile const __u32 has_cookies = 1;
/* Whether raw tracepoints have them: since 6.10. */
volatile const __u32 has_raw_cookies = 1;

__u64 xdp_runs = 0;
__u64 replacement_runs = 0;
__u64 first_runs = 0;
__u64 second_runs = 0;
/* A digit for each run of a tc program, the latest last. */
__u64 sequence = 0;
__u64 egress_runs = 0;
__u64 socket_runs = 0;
__u64 connect_runs = 0;
__u64 bind_runs = 0;
__u64 option_runs = 0;
__u64 setting_runs = 0;
__u64 device_runs = 0;
__u64 operation_runs = 0;
__u64 filter_runs = 0;
__u64 lookup_runs = 0;
__u64 dissector_runs = 0;
__u64 raw_runs = 0;
__u64 raw_cookie = 0;
__u64 typed_runs = 0;
__u64 typed_cookie = 0;
__u64 point_runs = 0;
__u64 point_cookie = 0;
__u64 kernel_runs = 0;
__u64 user_runs = 0;
__u64 user_cookie = 0;
__u64 return_runs = 0;
__u64 sample_runs = 0;

static __attribute__((always_inline)) void count(__u64 *runs)
{
	__sync_fetch_and_add(runs, 1);
}

static __attribute__((always_inline)) int is_ours(void)
{
	return bpf_get_current_pid_tgid() >> 32 == process;
}

SEC("xdp")
int frames(struct xdp_md *context)
{
	(void)context;
	count(&xdp_runs);
	return XDP_PASS;
}

SEC("xdp")
int replacement(struct xdp_md *context)
{
	(void)context;
	count(&replacement_runs);
	return XDP_PASS;
}

SEC("tcx/ingress")
int first(struct __sk_buff *skb)
{
	count(&first_runs);
	sequence = sequence * 10 + 1;
	/* Whoever dissects flows is asked once more. */
	bpf_set_hash_invalid(skb);
	bpf_get_hash_recalc(skb);
	return TCX_GO_ON;
}

SEC("tcx/ingress")
int second(struct __sk_buff *skb)
{
	(void)skb;
	count(&second_runs);
	sequence = sequence * 10 + 2;
	return TCX_GO_ON;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	(void)skb;
	count(&egress_runs);
	return ALLOW;
}

SEC("cgroup/sock_create")
int sockets(struct bpf_sock *sock)
{
	(void)sock;
	count(&socket_runs);
	return ALLOW;
}

SEC("cgroup/connect4")
int connections(struct bpf_sock_addr *address)
{
	(void)address;
	count(&connect_runs);
	return ALLOW;
}

SEC("cgroup/bind4")
int binds(struct bpf_sock_addr *address)
{
	(void)address;
	count(&bind_runs);
	return ALLOW;
}

SEC("cgroup/setsockopt")
int options(struct bpf_sockopt *option)
{
	/* Nothing of the value is looked at. */
	option->optlen = 0;
	count(&option_runs);
	return ALLOW;
}

SEC("cgroup/sysctl")
int settings(struct bpf_sysctl *setting)
{
	(void)setting;
	count(&setting_runs);
	return ALLOW;
}

SEC("cgroup/dev")
int devices(struct bpf_cgroup_dev_ctx *device)
{
	(void)device;
	count(&device_runs);
	return ALLOW;
}

SEC("sockops")
int operations(struct bpf_sock_ops *operation)
{
	(void)operation;
	count(&operation_runs);
	return ALLOW;
}

SEC("netfilter")
int filter(void *context)
{
	(void)context;
	count(&filter_runs);
	return NF_GO_ON;
}

SEC("sk_lookup")
int lookup(struct bpf_sk_lookup *context)
{
	(void)context;
	count(&lookup_runs);
	return SK_PASS;
}

SEC("flow_dissector")
int dissector(struct __sk_buff *skb)
{
	(void)skb;
	count(&dissector_runs);
	return BPF_FLOW_DISSECTOR_CONTINUE;
}

SEC("raw_tp/sys_enter")
int raw(void *context)
{
	if (is_ours()) {
		count(&raw_runs);
		if (has_raw_cookies)
			raw_cookie = bpf_get_attach_cookie(context);
	}
	return 0;
}

SEC("tp_btf/sys_enter")
int typed(void *context)
{
	if (is_ours()) {
		count(&typed_runs);
		if (has_raw_cookies)
			typed_cookie = bpf_get_attach_cookie(context);
	}
	return 0;
}

SEC("tp/raw_syscalls/sys_enter")
int point(void *context)
{
	if (is_ours()) {
		count(&point_runs);
		if (has_cookies)
			point_cookie = bpf_get_attach_cookie(context);
	}
	return 0;
}

SEC("kprobe/do_nanosleep")
int kernel_function(void *context)
{
	(void)context;
	if (is_ours())
		count(&kernel_runs);
	return 0;
}

SEC("uprobe/libc.so.6:getppid")
int user_function(void *context)
{
	if (is_ours()) {
		count(&user_runs);
		if (has_cookies)
			user_cookie = bpf_get_attach_cookie(context);
	}
	return 0;
}

SEC("uretprobe/libc.so.6:getppid")
int user_return(void *context)
{
	(void)context;
	if (is_ours())
		count(&return_runs);
	return 0;
}

SEC("perf_event")
int samples(void *context)
{
	(void)context;
	count(&sample_runs);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct seq_file;
struct task_struct;

struct meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct task_context {
	struct meta *meta;
	struct task_struct *task;
};

struct element_context {
	struct meta *meta;
	void *map;
	__u32 *key;
	__u64 *value;
};

SEC("iter/task")
int tasks(struct task_context *context)
{
	if (context->task)
		bpf_seq_write(context->meta->seq, ".", 1);
	return 0;
}

SEC("iter/bpf_map_elem")
int elements(struct element_context *context)
{
	if (context->value)
		bpf_seq_write(context->meta->seq, context->value, 8);
	return 0;
}

LICENSE("GPL");
