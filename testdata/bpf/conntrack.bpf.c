/* Functions of a module are called: connections are looked up.
 *
 * expect: `looks_up` answers 0, and leaves in `error` why there is no such connection: -ENOENT in a network without traffic. */
#include "bpf.h"

#define KSYM __attribute__((section(".ksyms")))
#define UDP 17

/* Only handed on, so only announced. */
struct nf_conn;

struct lookup_options {
	__s32 network;
	__s32 error;
	__u8 protocol;
	__u8 direction;
	__u8 reserved[2];
};

extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					 struct lookup_options *options, __u32 options_size) KSYM;
extern void bpf_ct_release(struct nf_conn *connection) KSYM;

int error = 1;

SEC("tc")
int looks_up(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = { .ipv4 = { .saddr = 1, .daddr = 2, .sport = 3, .dport = 4 } };
	struct lookup_options options = { .network = BPF_F_CURRENT_NETNS, .protocol = UDP };
	struct nf_conn *connection;

	connection = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
	error = options.error;
	if (connection)
		bpf_ct_release(connection);
	return 0;
}

LICENSE("GPL");
