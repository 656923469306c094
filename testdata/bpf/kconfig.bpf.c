// Values of the kernel's configuration in every form, present and absent, and the loader's own names.
#include "bpf.h"

#define UNUSED __attribute__((unused))
#define KCONFIG __attribute__((section(".kconfig")))
#define WEAK __attribute__((weak))

typedef _Bool bool;
enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };

extern bool CONFIG_BPF_SYSCALL KCONFIG;
extern enum libbpf_tristate CONFIG_BPF KCONFIG;
extern char CONFIG_NET KCONFIG;
extern int CONFIG_HZ KCONFIG;
extern unsigned long CONFIG_PHYSICAL_START KCONFIG;
extern unsigned short CONFIG_LOG_BUF_SHIFT KCONFIG;
extern const char CONFIG_DEFAULT_HOSTNAME[8] KCONFIG;
extern const char CONFIG_LSM[5] KCONFIG;
extern int CONFIG_TWINBPF_NONE KCONFIG WEAK;
extern bool CONFIG_TWINBPF_OFF KCONFIG WEAK;
extern unsigned int LINUX_KERNEL_VERSION KCONFIG;
extern bool LINUX_HAS_SYSCALL_WRAPPER KCONFIG;
extern bool LINUX_HAS_BPF_COOKIE KCONFIG;

unsigned long long seen[12];

SEC("socket")
int reads(void *context UNUSED)
{
	seen[0] = CONFIG_BPF_SYSCALL;
	seen[1] = CONFIG_BPF;
	seen[2] = CONFIG_NET;
	seen[3] = CONFIG_HZ;
	seen[4] = CONFIG_PHYSICAL_START;
	seen[5] = CONFIG_LOG_BUF_SHIFT;
	seen[6] = CONFIG_DEFAULT_HOSTNAME[1];
	seen[7] = CONFIG_LSM[3];
	seen[8] = CONFIG_TWINBPF_NONE;
	seen[9] = LINUX_KERNEL_VERSION;
	seen[10] = LINUX_HAS_SYSCALL_WRAPPER;
	seen[11] = LINUX_HAS_BPF_COOKIE;
	return 0;
}

// Only the branch that the configuration leaves alive is looked at: the other one calls what no kernel has.
SEC("socket")
int branches(void *context UNUSED)
{
	static void (*const nothing)(void) = (void *)12345;
	if (CONFIG_TWINBPF_OFF)
		nothing();
	return CONFIG_HZ > 0;
}

LICENSE("GPL");
