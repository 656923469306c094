/* Arithmetic and comparisons of every width in a bounded loop; the sums go to an array.
 *
 * The kernel runs it with `skb->len` 86 for a frame of 100 bytes: its test runs cut the Ethernet header off.
 * expect: results(len 86) = 0x50 0xffaa 0x22bfead9 0x7d7d8e 8 8 0xffffffffffffff50 0xb0280005b02db028
 * expect: results(len 100) = 0xe0 0xff9c 0x5214bdaf 0x4deb1a 8 8 0xffffffffffffff38 0x202d00082035202d */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 8);
} results SEC(".maps");

static inline void store(__u32 slot, __u64 value)
{
	bpf_map_update_elem(&results, &slot, &value, BPF_ANY);
}

SEC("socket")
int widths(struct __sk_buff *skb)
{
	__u64 n = skb->len;
	__u8 bytes = 0;
	__u16 halves = 0;
	__u32 words = 0;
	__u64 doubles = 0, below = 0, above = 0, swapped = 0;
	__s64 shifted = 0;

#pragma clang loop unroll(disable) vectorize(disable)
	for (__u32 i = 0; i < 16; i++) {
		__s32 centred = (__s32)i - 8;
		__u64 product;

		OPAQUE(n);
		product = n * (i + 1);
		bytes += (__u8)(n * i);
		halves += (__u16)(n << i);
		words += ((__u32)n * 0x01000193u ^ i) / (i + 1);
		doubles += (n * 0x9e3779b97f4a7c15ull >> i) % 1000003;
		if (centred * (__s32)n < 0)
			below++;
		if ((__u32)centred * (__u32)n > 0x80000000u)
			above++;
		shifted += (__s64)centred * (__s64)n >> 2;
		swapped += __builtin_bswap16(product) + (__u64)__builtin_bswap32(product) +
			   __builtin_bswap64(product);
	}
	store(0, bytes);
	store(1, halves);
	store(2, words);
	store(3, doubles);
	store(4, below);
	store(5, above);
	store(6, shifted);
	store(7, swapped);
	return 0;
}

LICENSE("GPL");
