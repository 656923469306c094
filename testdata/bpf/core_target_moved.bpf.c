// Types as another machine may have them: every one that core.bpf.c knows, changed. No two of them disagree.
#include "bpf.h"

enum color { BLUE, RED, GREEN = 7 };
enum wide { LARGE = 0x200000003ULL, SMALL };
enum level { HIGH = 5, LOW = -7 };

struct inner {
	long before;
	int first;
	int second[4];
};

typedef long number;
typedef struct inner *inner_pointer;

struct outer {
	char before[6];
	int added;
	union {
		struct {
			int hidden;
			void *pointer;
		};
		long beside;
	};
	unsigned int low : 5;
	unsigned int middle : 30;
	__u64 moved;
	__u32 shrunk;
	struct inner inner;
	int other_kind[2];
	struct inner many[5];
	unsigned int sign;
	int narrow;
	number alias;
	enum color color;
	int tail[];
} __attribute__((packed));

struct shape {
	struct inner inner;
	struct outer *outer;
	int size;
	int more;
};
union color_union {
	enum color color;
	int whole;
	long more;
};
typedef int (*function)(struct outer *, int);

// Only types of variables get into the BTF whole.
#define TYPE(type, name) type name SEC(".types")
TYPE(struct outer, an_outer);
TYPE(struct shape, a_shape);
TYPE(union color_union, a_union);
TYPE(inner_pointer, a_pointer);
TYPE(number, a_number);
TYPE(function, a_function);
TYPE(enum wide, a_wide);
TYPE(enum level, a_level);

SEC("socket")
int nothing(void *context)
{
	return context != 0;
}
