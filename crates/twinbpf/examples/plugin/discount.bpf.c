// A plug-in of the example shop: decides the discount on an order. The context and `shop_stock` are the shop's.
//
// No header but the kernel's types is needed; clang -target bpf -O2 -g -c discount.bpf.c
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, number) int(*name)[number]
#define __type(name, type) typeof(type) *name

struct order {
	__u32 item;
	__u32 quantity;
	__u32 discount_percent;
};

extern __u32 shop_stock(__u32 item) __attribute__((section(".ksyms")));

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} sold SEC(".maps");

// What lies around in large numbers gets cheaper; so does a dozen.
SEC("shop/order")
int discount(struct order *order)
{
	__u32 item = order->item;
	__u64 *count = bpf_map_lookup_elem(&sold, &item);
	if (!count || order->quantity > shop_stock(item))
		return -1;
	*count += order->quantity;
	order->discount_percent = order->quantity >= 12 ? 10 : 0;
	if (shop_stock(item) > 1000)
		order->discount_percent += 5;
	return 0;
}
