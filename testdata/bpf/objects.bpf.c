// Objects that programs allocate: lists, trees, shared owners, places in values.
#include "bpf.h"

#define KSYM __attribute__((section(".ksyms")))
#define UNUSED __attribute__((unused))
#define KPTR __attribute__((btf_type_tag("kptr")))
#define CONTAINS(type, node) __attribute__((btf_decl_tag("contains:" #type ":" #node)))
#define PRIVATE(name) __attribute__((section(".data." #name), used, aligned(8)))
#define container_of(pointer, type, member) ((type *)((void *)(pointer) - offsetof(type, member)))

struct bpf_list_head {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_list_node {
	__u64 opaque[3];
} __attribute__((aligned(8)));

struct bpf_rb_root {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_rb_node {
	__u64 opaque[4];
} __attribute__((aligned(8)));

struct bpf_refcount {
	__u32 opaque[1];
} __attribute__((aligned(4)));

extern void *bpf_obj_new_impl(__u64 type, void *meta) KSYM;
extern void bpf_obj_drop_impl(void *object, void *meta) KSYM;
extern void *bpf_refcount_acquire_impl(void *object, void *meta) KSYM;
extern int bpf_list_push_front_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta,
                                    __u64 offset) KSYM;
extern int bpf_list_push_back_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta,
                                   __u64 offset) KSYM;
extern struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *head) KSYM;
extern struct bpf_list_node *bpf_list_pop_back(struct bpf_list_head *head) KSYM;
extern int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node,
                               _Bool (*less)(struct bpf_rb_node *, const struct bpf_rb_node *), void *meta,
                               __u64 offset) KSYM;
extern struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *root) KSYM;
extern struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *root, struct bpf_rb_node *node) KSYM;

static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)BPF_FUNC_spin_lock;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)BPF_FUNC_spin_unlock;
static void *(*const bpf_kptr_xchg)(void *place, void *object) = (void *)BPF_FUNC_kptr_xchg;

#define NEW(type) ((type *)bpf_obj_new_impl(__builtin_btf_type_id(*(type *)0, 0), 0))

struct item {
	struct bpf_list_node node;
	__u64 number;
};

struct leaf {
	__u64 key;
	struct bpf_rb_node node;
};

struct shared {
	struct bpf_refcount owners;
	__u64 number;
};

struct plain {
	__u64 number;
	__u64 other;
};

struct slot {
	struct plain KPTR *plain;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct bpf_spin_lock list_lock PRIVATE(list);
struct bpf_list_head list CONTAINS(item, node) PRIVATE(list);

struct bpf_spin_lock tree_lock PRIVATE(tree);
struct bpf_rb_root tree CONTAINS(leaf, node) PRIVATE(tree);

/* What programs found out; the tests compare it between engines. */
int seen[16];

static int push(__u64 number, _Bool to_front)
{
	struct item *item = NEW(struct item);
	int result;
	if (!item)
		return -1;
	item->number = number;
	bpf_spin_lock(&list_lock);
	if (to_front)
		result = bpf_list_push_front_impl(&list, &item->node, 0, 0);
	else
		result = bpf_list_push_back_impl(&list, &item->node, 0, 0);
	bpf_spin_unlock(&list_lock);
	return result;
}

static int pop(_Bool from_front)
{
	struct bpf_list_node *node;
	struct item *item;
	int number;
	bpf_spin_lock(&list_lock);
	node = from_front ? bpf_list_pop_front(&list) : bpf_list_pop_back(&list);
	bpf_spin_unlock(&list_lock);
	if (!node)
		return -1;
	item = container_of(node, struct item, node);
	number = item->number;
	bpf_obj_drop_impl(item, 0);
	return number;
}

SEC("tc")
int keeps_a_list(struct __sk_buff *skb UNUSED)
{
	seen[0] = pop(1);
	seen[1] = push(1, 0);
	seen[2] = push(2, 0);
	seen[3] = push(3, 1);
	seen[4] = push(4, 0);
	seen[5] = pop(1);
	seen[6] = pop(0);
	seen[7] = pop(1);
	/* One stays behind: it goes with the map. */
	return 0;
}

static _Bool less(struct bpf_rb_node *one, const struct bpf_rb_node *other)
{
	struct leaf *left = container_of(one, struct leaf, node);
	struct leaf *right = container_of(other, struct leaf, node);
	return left->key < right->key;
}

static int add(__u64 key)
{
	struct leaf *leaf = NEW(struct leaf);
	int result;
	if (!leaf)
		return -1;
	leaf->key = key;
	bpf_spin_lock(&tree_lock);
	result = bpf_rbtree_add_impl(&tree, &leaf->node, less, 0, 0);
	bpf_spin_unlock(&tree_lock);
	return result;
}

static int take_least(void)
{
	struct bpf_rb_node *node;
	struct leaf *leaf;
	int key;
	bpf_spin_lock(&tree_lock);
	node = bpf_rbtree_first(&tree);
	if (!node) {
		bpf_spin_unlock(&tree_lock);
		return -1;
	}
	node = bpf_rbtree_remove(&tree, node);
	bpf_spin_unlock(&tree_lock);
	if (!node)
		return -2;
	leaf = container_of(node, struct leaf, node);
	key = leaf->key;
	bpf_obj_drop_impl(leaf, 0);
	return key;
}

SEC("tc")
int keeps_a_tree(struct __sk_buff *skb UNUSED)
{
	seen[0] = take_least();
	seen[1] = add(30);
	seen[2] = add(10);
	seen[3] = add(20);
	seen[4] = add(10);
	seen[5] = take_least();
	seen[6] = take_least();
	seen[7] = take_least();
	return 0;
}

SEC("tc")
int shares(struct __sk_buff *skb UNUSED)
{
	struct shared *one = NEW(struct shared), *other;
	if (!one)
		return 1;
	one->number = 5;
	other = bpf_refcount_acquire_impl(one, 0);
	bpf_obj_drop_impl(one, 0);
	if (!other)
		return 2;
	seen[0] = other->number;
	bpf_obj_drop_impl(other, 0);
	return 0;
}

static int put(struct slot *slot, __u64 number)
{
	struct plain *plain = NEW(struct plain), *old;
	int before = -1;
	if (!plain)
		return -2;
	plain->number = number;
	plain->other = 1; /* what was in it is not cleared: KERNEL 6.18 */
	old = bpf_kptr_xchg(&slot->plain, plain);
	if (old) {
		before = old->number + old->other;
		bpf_obj_drop_impl(old, 0);
	}
	return before;
}

SEC("tc")
int keeps_in_a_value(struct __sk_buff *skb UNUSED)
{
	__u32 key = 1;
	struct slot *slot = bpf_map_lookup_elem(&slots, &key);
	struct plain *plain;
	if (!slot)
		return 1;
	seen[0] = put(slot, 100);
	seen[1] = put(slot, 200);
	plain = bpf_kptr_xchg(&slot->plain, 0);
	if (plain) {
		seen[2] = plain->number;
		bpf_obj_drop_impl(plain, 0);
	}
	plain = bpf_kptr_xchg(&slot->plain, 0);
	if (plain) {
		seen[3] = 1;
		bpf_obj_drop_impl(plain, 0);
	}
	return put(slot, 300);
}

struct large {
	__u64 numbers[512];
};

/* A kernel refuses the rest: its verifier sees that nothing is given back, or given back twice. */
SEC("?tc")
int forgets(struct __sk_buff *skb UNUSED)
{
	struct large *large = NEW(struct large);
	if (!large)
		return 0;
	*(volatile __u64 *)large->numbers = 1;
	return 1;
}

SEC("?tc")
int drops_twice(struct __sk_buff *skb UNUSED)
{
	struct plain *plain = NEW(struct plain);
	if (!plain)
		return 0;
	bpf_obj_drop_impl(plain, 0);
	bpf_obj_drop_impl(plain, 0);
	return 1;
}

SEC("?tc")
int pushes_what_it_has_not(struct __sk_buff *skb UNUSED)
{
	struct item *item = NEW(struct item);
	if (!item)
		return 0;
	bpf_list_push_back_impl(&list, &item->node, 0, 0);
	bpf_list_push_back_impl(&list, &item->node, 0, 0);
	return 1;
}

LICENSE("GPL");
