/* Packet loads of every width, with a constant offset (LD_ABS) and a computed one (LD_IND).
 * For a packet of 64 bytes of which byte k holds k:
 * expect: absolute = 0x00010203 + 0x0405 + 0x06 = 0x1060e
 * expect: indirect = 0x20212223 + 0x1011 + 0x08 = 0x2021323c
 * expect: outside = 0: the load fails, and neither 7 nor 8 is ever returned
 * expect: network = byte 23, if the network header starts at 14 */
#include "bpf.h"

SEC("socket")
int absolute(struct __sk_buff *skb)
{
	return load_word(skb, 0) + load_half(skb, 4) + load_byte(skb, 6);
}

SEC("socket")
int indirect(struct __sk_buff *skb)
{
	__u32 length = skb->len;

	return load_word(skb, length / 2) + load_half(skb, length / 4) + load_byte(skb, length / 8);
}

SEC("socket")
int outside(struct __sk_buff *skb)
{
	__u64 byte = load_byte(skb, skb->len);

	OPAQUE(byte);
	return byte ? 8 : 7;
}

SEC("socket")
int network(struct __sk_buff *skb)
{
	/* Offsets from here on count from the network header (SKF_NET_OFF). */
	return load_byte(skb, -0x100000 + (long)offsetof(struct iphdr, protocol));
}

LICENSE("GPL");
