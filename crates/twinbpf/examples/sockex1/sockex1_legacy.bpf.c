/* The same program as `sockex1.bpf.c`, as it was written before BTF: the map is a struct of five numbers in
 * `SEC("maps")`, and the section of the program ends in a number that says nothing about its type.
 *
 * Build: clang -target bpf -O2 -c sockex1_legacy.bpf.c */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <stddef.h>

#define SEC(name) __attribute__((section(name), used))

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
unsigned long long load_byte(void *skb, unsigned long long offset) asm("llvm.bpf.load.byte");

struct map_definition {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
};

struct map_definition SEC("maps") my_map = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(long),
	.max_entries = 256,
};

SEC("socket1")
int count_outgoing(struct __sk_buff *skb)
{
	__u32 protocol = load_byte(skb, ETH_HLEN + offsetof(struct iphdr, protocol));
	long *bytes;

	if (skb->pkt_type != PACKET_OUTGOING)
		return 0;
	bytes = bpf_map_lookup_elem(&my_map, &protocol);
	if (bytes)
		__sync_fetch_and_add(bytes, skb->len);
	return 0; /* Keep nothing of the packet for the socket: the map is the result. */
}

char _license[] SEC("license") = "GPL";
