// Every question of CO-RE, one program each: what a program returns is the answer. The targets are core_target_*.bpf.c.
#include "bpf.h"

#define ADAPTED __attribute__((preserve_access_index))

enum color { RED = 1, GREEN = 2, LOST = 3 };
enum wide { SMALL = 1, LARGE = 0x100000001ULL };
enum level { LOW = -1, HIGH = 1 };

struct inner {
	int first;
	int second[4];
} ADAPTED;

typedef int number;
typedef struct inner *inner_pointer;

struct outer {
	__u32 moved;
	__u64 shrunk;
	void *pointer;
	int sign;
	short narrow;
	struct inner inner;
	struct inner many[3];
	enum color color;
	struct {
		int hidden;
	};
	unsigned int low : 3;
	int middle : 7;
	unsigned int high : 12;
	int gone;
	int other_kind;
	number alias;
	int tail[];
} ADAPTED;

// Only for the question whether there is such a field or type: other flavours of the same type.
struct outer___new {
	int added;
} ADAPTED;
struct outer___old {
	int removed;
} ADAPTED;

struct absent {
	int field;
} ADAPTED;

struct shape {
	int size;
	struct outer *outer;
	struct inner inner;
};
struct shape___longer {
	int size;
	struct outer *outer;
	struct inner inner;
	int missing;
};
struct shape___retyped {
	long size;
};
struct shape___announced {
	struct outer___somewhere *outer;
};
union color_union {
	int whole;
	enum color color;
};
typedef int (*function)(struct outer *, int);
typedef int (*function___fewer)(struct outer *);

#define FIELD(field, kind) __builtin_preserve_field_info(field, kind)
#define TYPE(type, kind) __builtin_preserve_type_info(*(type *)0, kind)
#define ENUM(type, name, kind) __builtin_preserve_enum_value(*(type *)name, kind)
enum { OFFSET, SIZE, EXISTS, SIGNED, LEFT, RIGHT };
enum { TYPE_EXISTS, TYPE_SIZE, TYPE_MATCHES };
enum { NAME_EXISTS, NAME_VALUE };

#define PROGRAM(name, answer)                                                                                          \
	SEC("socket")                                                                                                  \
	unsigned long long name(void *context)                                                                         \
	{                                                                                                              \
		struct outer *outer = context;                                                                         \
		(void)outer;                                                                                           \
		return answer;                                                                                         \
	}

PROGRAM(offset_of_moved, FIELD(outer->moved, OFFSET))
PROGRAM(offset_of_element, FIELD(outer->many[2].second[1], OFFSET))
PROGRAM(offset_of_hidden, FIELD(outer->hidden, OFFSET))
PROGRAM(offset_of_tail, FIELD(outer->tail[2], OFFSET))
PROGRAM(offset_of_second_root, FIELD(outer[1].moved, OFFSET))
PROGRAM(size_of_shrunk, FIELD(outer->shrunk, SIZE))
PROGRAM(size_of_many, FIELD(outer->many, SIZE))
PROGRAM(exists_moved, FIELD(outer->moved, EXISTS))
PROGRAM(exists_gone, FIELD(outer->gone, EXISTS))
PROGRAM(exists_added, FIELD(((struct outer___new *)context)->added, EXISTS))
PROGRAM(exists_removed, FIELD(((struct outer___old *)context)->removed, EXISTS))
PROGRAM(exists_other_kind, FIELD(outer->other_kind, EXISTS))
PROGRAM(exists_in_absent, FIELD(((struct absent *)context)->field, EXISTS))
PROGRAM(exists_outer_element, FIELD(outer->many[2], EXISTS))
PROGRAM(signed_sign, FIELD(outer->sign, SIGNED))
PROGRAM(signed_moved, FIELD(outer->moved, SIGNED))
PROGRAM(signed_middle, FIELD(outer->middle, SIGNED))
PROGRAM(bits_offset, FIELD(outer->middle, OFFSET))
PROGRAM(bits_size, FIELD(outer->middle, SIZE))
PROGRAM(bits_left, FIELD(outer->middle, LEFT))
PROGRAM(bits_right, FIELD(outer->middle, RIGHT))
PROGRAM(plain_left, FIELD(outer->moved, LEFT))
PROGRAM(plain_right, FIELD(outer->moved, RIGHT))
PROGRAM(local_id, __builtin_btf_type_id(*(struct outer *)0, 0))
PROGRAM(target_id, __builtin_btf_type_id(*(struct outer *)0, 1))
PROGRAM(target_id_absent, __builtin_btf_type_id(*(struct absent *)0, 1))
PROGRAM(type_exists, TYPE(struct outer, TYPE_EXISTS))
PROGRAM(type_exists_absent, TYPE(struct absent, TYPE_EXISTS))
PROGRAM(type_exists_number, TYPE(number, TYPE_EXISTS))
PROGRAM(type_exists_function, TYPE(function, TYPE_EXISTS))
PROGRAM(type_exists_function_fewer, TYPE(function___fewer, TYPE_EXISTS))
PROGRAM(type_size, TYPE(struct inner, TYPE_SIZE))
PROGRAM(type_size_absent, TYPE(struct absent, TYPE_SIZE))
PROGRAM(type_size_pointer, TYPE(inner_pointer, TYPE_SIZE))
PROGRAM(matches, TYPE(struct shape, TYPE_MATCHES))
PROGRAM(matches_longer, TYPE(struct shape___longer, TYPE_MATCHES))
PROGRAM(matches_retyped, TYPE(struct shape___retyped, TYPE_MATCHES))
PROGRAM(matches_announced, TYPE(struct shape___announced, TYPE_MATCHES))
PROGRAM(matches_union, TYPE(union color_union, TYPE_MATCHES))
PROGRAM(matches_enum, TYPE(enum color, TYPE_MATCHES))
PROGRAM(matches_function, TYPE(function, TYPE_MATCHES))
PROGRAM(name_exists, ENUM(enum color, GREEN, NAME_EXISTS))
PROGRAM(name_exists_lost, ENUM(enum color, LOST, NAME_EXISTS))
PROGRAM(name_value, ENUM(enum color, GREEN, NAME_VALUE))
PROGRAM(name_value_wide, ENUM(enum wide, LARGE, NAME_VALUE))
PROGRAM(name_value_negative, ENUM(enum level, LOW, NAME_VALUE))

// Loads and stores themselves.
PROGRAM(load_moved, outer->moved)
PROGRAM(load_shrunk, outer->shrunk)
PROGRAM(load_pointer, (unsigned long long)outer->pointer)
PROGRAM(load_second, outer->inner.second[1])

SEC("socket")
int store_moved(struct outer *outer)
{
	outer->moved = 5;
	return 0;
}

SEC("socket")
int guarded(struct outer *outer)
{
	if (FIELD(outer->gone, EXISTS))
		return outer->gone;
	return 7;
}

// Each of these cannot be adapted to a target that lacks or changes what it needs.
SEC("?socket")
int load_gone(struct outer *outer)
{
	return outer->gone;
}

SEC("?socket")
int load_narrow(struct outer *outer)
{
	return outer->narrow;
}

SEC("?socket")
int value_lost(void *context)
{
	(void)context;
	return ENUM(enum color, LOST, NAME_VALUE);
}

LICENSE("GPL");
