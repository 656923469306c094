/* The founding example: bytes of outgoing packets by IP protocol. Include it after defining `my_map`. */

SEC(SOCKEX1_SECTION)
int count_outgoing(struct __sk_buff *skb)
{
	__u32 protocol = load_byte(skb, ETH_HLEN + offsetof(struct iphdr, protocol));
	long *bytes;

	if (skb->pkt_type != PACKET_OUTGOING)
		return 0;
	bytes = bpf_map_lookup_elem(&my_map, &protocol);
	if (bytes)
		__sync_fetch_and_add(bytes, skb->len);
	return 0;
}

LICENSE("GPL");
