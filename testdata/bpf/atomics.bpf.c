/* Every atomic operation that instruction set v3 has, 32 and 64 bits wide; what they fetched goes to an array.
 * The cell starts at 0x1111111100000005, once for each width; 32-bit operations touch its low half.
 * expect: fetched 0 0x1111111100000005 fetch-add 3
 * expect: fetched 1 0x1111111100000008 fetch-and 0xfffffffffffffffc
 * expect: fetched 2 0x1111111100000008 fetch-or 0x10
 * expect: fetched 3 0x1111111100000018 fetch-xor 0xff
 * expect: fetched 4 0x11111111000000e7 exchange 42
 * expect: fetched 5 42 compare 42, exchange 43
 * expect: fetched 6 43 compare 42, exchange 44: no exchange
 * expect: fetched 7 43 left in the cell
 * expect: fetched 8..14 5 8 8 0x18 0xe7 42 43, and 15 holds 0x111111110000002b on little-endian machines */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 16);
} fetched SEC(".maps");

static inline void store(__u32 slot, __u64 value)
{
	bpf_map_update_elem(&fetched, &slot, &value, BPF_ANY);
}

#define START 0x1111111100000005ull

SEC("socket")
int wide(struct __sk_buff *skb)
{
	__u64 cell = START;
	__u64 *at = &cell;

	(void)skb;
	OPAQUE(at);
	store(0, __sync_fetch_and_add(at, 3));
	store(1, __sync_fetch_and_and(at, 0xfffffffffffffffcull));
	store(2, __sync_fetch_and_or(at, 0x10));
	store(3, __sync_fetch_and_xor(at, 0xff));
	store(4, __sync_lock_test_and_set(at, 42));
	store(5, __sync_val_compare_and_swap(at, 42, 43));
	store(6, __sync_val_compare_and_swap(at, 42, 44));
	store(7, *at);
	return 0;
}

SEC("socket")
int narrow(struct __sk_buff *skb)
{
	__u64 cell = START;
	__u64 *whole = &cell;
	__u32 *at;

	(void)skb;
	OPAQUE(whole);
	at = (__u32 *)whole;
	store(8, __sync_fetch_and_add(at, 3));
	store(9, __sync_fetch_and_and(at, 0xfffffffcu));
	store(10, __sync_fetch_and_or(at, 0x10));
	store(11, __sync_fetch_and_xor(at, 0xff));
	store(12, __sync_lock_test_and_set(at, 42));
	store(13, __sync_val_compare_and_swap(at, 42, 43));
	store(14, __sync_val_compare_and_swap(at, 42, 44));
	asm volatile("" ::: "memory");
	store(15, *whole);
	return 0;
}

LICENSE("GPL");
