// A target with two types of one name, as kernels have them: they agree on one field and not on the other.
#include "bpf.h"

SEC("socket")
int one(void *context)
{
	struct twin {
		int left;
		int right;
		long apart;
		int same;
	};
	static struct twin twin SEC(".types");
	return context == &twin;
}

SEC("socket")
int other(void *context)
{
	struct twin {
		int right;
		int left;
		int apart;
		int between;
		int same;
	};
	static struct twin twin SEC(".types");
	return context == &twin;
}
