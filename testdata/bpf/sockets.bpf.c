/* Programs on sockets that somebody holds: those in a map, those that share a port, and the packets of a route.
 * expect: accepted by the kernel; what runs when, `crates/twinbpf/tests/attach/sockets.rs` says */
#include "bpf.h"

static long (*const bpf_sk_select_reuseport)(struct sk_reuseport_md *context, void *map, void *key, __u64 flags) =
	(void *)BPF_FUNC_sk_select_reuseport;
static long (*const bpf_sk_redirect_map)(struct __sk_buff *skb, void *map, __u32 key, __u64 flags) =
	(void *)BPF_FUNC_sk_redirect_map;

__u64 sent_bytes = 0;
__u64 received_runs = 0;
__u64 chosen_runs = 0;
__u64 filtered_runs = 0;
__u64 left_runs = 0;
/* Which of the sockets that share a port is chosen. */
__u32 chosen = 0;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} group SEC(".maps");

SEC("sk_msg")
int sending(struct sk_msg_md *message)
{
	__sync_fetch_and_add(&sent_bytes, message->size);
	return SK_PASS;
}

SEC("sk_skb/verdict")
int receiving(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&received_runs, 1);
	/* What the first one receives, the second one sends. */
	return bpf_sk_redirect_map(skb, &sockets, 1, 0);
}

SEC("sk_reuseport")
int choosing(struct sk_reuseport_md *context)
{
	__u32 key = chosen;

	__sync_fetch_and_add(&chosen_runs, 1);
	bpf_sk_select_reuseport(context, &group, &key, 0);
	return SK_PASS;
}

SEC("socket")
int filtering(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&filtered_runs, 1);
	return skb->len;
}

SEC("lwt_out")
int leaving(struct __sk_buff *skb)
{
	(void)skb;
	__sync_fetch_and_add(&left_runs, 1);
	return BPF_OK;
}

LICENSE("GPL");
