/* What a 32-bit program sees of the network's devices, without a C library: all socket calls go through socketcall,
 * whose arguments lie in memory.
 *
 * view32 links    the devices that RTM_GETLINK names
 * view32 conf     the devices that SIOCGIFCONF names
 * view32 swap     as links, many times, while a second process keeps changing the protocol in memory
 */

static int call(int number, int a, int b, int c, int d, int e)
{
	int result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return result;
}

static void say(const char *text)
{
	int length = 0;
	while (text[length])
		length++;
	call(4, 1, (int)text, length, 0, 0);
}

static char buffer[65536];

/* The names of devices that a netlink socket tells; 0 if it is none for routes. */
static int links(int fd)
{
	static unsigned char request[32];
	int words[4] = { fd, (int)request, 32, 0 };
	int found = 0;

	request[0] = 32;
	request[4] = 18;
	request[6] = 1;
	request[7] = 3;
	if (call(102, 9, (int)words, 0, 0, 0) < 0)
		return 0;
	for (;;) {
		int where[4] = { fd, (int)buffer, sizeof(buffer), 0x40 };
		int count = call(102, 10, (int)where, 0, 0, 0);
		int at = 0;
		if (count <= 0)
			return found;
		while (at + 16 <= count) {
			int length = *(int *)(buffer + at);
			int kind = *(unsigned short *)(buffer + at + 4);
			int part = at + 32;
			if (kind == 3)
				return found;
			if (kind != 16)
				return found;
			while (part + 4 <= at + length) {
				if (buffer[part + 2] == 3) {
					say(buffer + part + 4);
					say("\n");
					found++;
				}
				part += (*(unsigned short *)(buffer + part) + 3) & ~3;
			}
			at += (length + 3) & ~3;
		}
	}
}

static int conf(void)
{
	static char list[64][32];
	int words[3] = { 2, 2, 0 };
	int head[2] = { sizeof(list), (int)list };
	int fd = call(102, 1, (int)words, 0, 0, 0);
	int at;

	if (fd < 0 || call(54, fd, 0x8912, (int)head, 0, 0) < 0)
		return 1;
	for (at = 0; at < head[0] / 32; at++) {
		say(list[at]);
		say("\n");
	}
	return 0;
}

static int swap(void)
{
	/* mmap2: one page, shared, of no file. */
	int map[6] = { 0, 4096, 3, 0x21, -1, 0 };
	volatile int *words = (volatile int *)call(90, (int)map, 0, 0, 0, 0);
	int child, round, found = 0;

	words[0] = 16;
	words[1] = 3;
	words[2] = 0;
	child = call(2, 0, 0, 0, 0, 0);
	if (child == 0) {
		for (;;) {
			words[2] = 15;
			words[2] = 0;
		}
	}
	for (round = 0; round < 2000; round++) {
		int fd = call(102, 1, (int)words, 0, 0, 0);
		if (fd >= 0) {
			found += links(fd) > 0;
			call(6, fd, 0, 0, 0, 0);
		}
	}
	call(37, child, 9, 0, 0, 0);
	return found == 0;
}

__attribute__((used)) static void start(int *stack)
{
	char **words = (char **)(stack + 1);
	int result = 2;

	if (stack[0] >= 2 && words[1][0] == 'l') {
		int arguments[3] = { 16, 3, 0 };
		int fd = call(102, 1, (int)arguments, 0, 0, 0);
		result = fd < 0 ? -fd : links(fd) == 0;
	} else if (stack[0] >= 2 && words[1][0] == 'c') {
		result = conf();
	} else if (stack[0] >= 2 && words[1][0] == 's') {
		result = swap();
	}
	call(1, result, 0, 0, 0, 0);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mov %esp, %eax\n"
	"	and $-16, %esp\n"
	"	sub $12, %esp\n"
	"	push %eax\n"
	"	call start\n");
