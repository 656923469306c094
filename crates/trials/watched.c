/* A program to be watched: functions, and probes with arguments in every place that a compiler of x86-64 uses. It does its work once
 * for each line that it is sent, and answers each with how many watch its probes. */
#define SDT_USE_VARIADIC 0
#ifdef GUARDED
#define _SDT_HAS_SEMAPHORES 1
#endif
#include <sys/sdt.h>
#include <stdio.h>

#ifdef GUARDED
#define COUNTER(name) unsigned short twinbpf_##name##_semaphore __attribute__((unused, section(".probes")))
COUNTER(bare);
COUNTER(numbers);
#define WATCHERS twinbpf_numbers_semaphore
#else
#define WATCHERS 0
#endif

#define FUNCTION __attribute__((noinline))

volatile long elsewhere[4] = {11, 22, 33, 44};

FUNCTION long alpha_one(long number)
{
	DTRACE_PROBE3(twinbpf, numbers, number, (signed char)-3, (unsigned short)65535);
	return number + elsewhere[0];
}

FUNCTION long alpha_two(long number)
{
	DTRACE_PROBE3(twinbpf, numbers, 20, number, elsewhere[1]);
	return number * elsewhere[1];
}

FUNCTION long beta(long number)
{
	DTRACE_PROBE3(twinbpf, numbers, elsewhere[2], number, 1);
	DTRACE_PROBE(twinbpf, bare);
	return number - elsewhere[2];
}

#ifndef GUARDED
FUNCTION void forms(void)
{
	volatile long *memory = elsewhere;

	asm volatile("movq $-7, %%rbx\n"
	             "movq %0, %%rcx\n"
	             "movq $2, %%rdx\n"
	             "990: nop\n"
	             ".pushsection .note.stapsdt,\"\",\"note\"\n"
	             ".balign 4\n"
	             ".4byte 992f-991f, 994f-993f, 3\n"
	             "991: .asciz \"stapsdt\"\n"
	             "992: .balign 4\n"
	             "993: .8byte 990b\n"
	             ".8byte _.stapsdt.base\n"
	             ".8byte 0\n"
	             ".asciz \"twinbpf\"\n"
	             ".asciz \"forms\"\n"
	             ".asciz \"-4@%%ebx 8@8(%%rcx) 8@(%%rcx,%%rdx,8) -1@$-5 1@%%bl 2@%%bx 4@(%%rcx) 8@8(%%rcx,%%rdx,8)\"\n"
	             "994: .balign 4\n"
	             ".popsection\n"
	             :
	             : "r"(memory)
	             : "rbx", "rcx", "rdx", "memory");
}
#else
static void forms(void) {}
#endif

int main(void)
{
	while (getchar() == '\n') {
		printf("%d %ld\n", WATCHERS, alpha_one(1) + alpha_two(2) + beta(3));
		forms();
		fflush(stdout);
	}
	return 0;
}
