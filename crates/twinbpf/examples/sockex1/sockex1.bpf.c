/* Adds up the bytes of outgoing packets by IP protocol, in a map that user space reads.
 *
 * Build: clang -target bpf -O2 -g -c sockex1.bpf.c */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <stddef.h>

#define SEC(name) __attribute__((section(name), used))

/* A helper is a number; a packet load is an instruction that ends the program with 0 if the packet is too short. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
unsigned long long load_byte(void *skb, unsigned long long offset) asm("llvm.bpf.load.byte");

/* BTF describes the map: numbers are the lengths of arrays, types the targets of pointers. */
struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	__u32 *key;
	long *value;
	int (*max_entries)[256];
} my_map SEC(".maps");

SEC("socket")
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
