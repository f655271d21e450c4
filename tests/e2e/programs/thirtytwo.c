/* A 32-bit program without any library: sockets through socketcall(2), as old C libraries make them.
 *
 * thirtytwo bind TYPE ADDRESS         ok, or the errno's number
 * thirtytwo serve TYPE ADDRESS TEXT   answers every connection with TEXT, in the background: ok and its number
 * thirtytwo ask TYPE ADDRESS          what the server there says
 *
 * TYPE is 1 (stream) or 2 (datagram), ADDRESS a struct sockaddr in hexadecimal digits: the harness makes it.
 * In C as the only language that is at hand for 32 bits on every machine that builds this project.
 */

static int call(int number, int a, int b, int c, int d, int e)
{
	int result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory");
	return result;
}

/* Numbers of net/socket.c: SYS_SOCKET 1, BIND 2, CONNECT 3, LISTEN 4, ACCEPT 5, SEND 9, RECV 10. */
static int socketcall(int which, int a, int b, int c, int d)
{
	volatile int words[4] = { a, b, c, d };
	return call(102, which, (int)words, 0, 0, 0);
}

static int length(const char *text)
{
	int count = 0;
	while (text[count])
		count++;
	return count;
}

static void say(const char *text)
{
	call(4, 1, (int)text, length(text), 0, 0);
}

/* A text and a number on a line. */
static int tell(const char *text, int number)
{
	char digits[12];
	int at = sizeof(digits);
	digits[--at] = 0;
	digits[--at] = '\n';
	do {
		digits[--at] = '0' + number % 10;
		number /= 10;
	} while (number && at);
	say(text);
	say(digits + at);
	return 0;
}

static int failed(int error)
{
	return tell("errno ", -error);
}

static int nibble(char digit)
{
	return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

static int run(char **words)
{
	static unsigned char address[64];
	static char buffer[512];
	int size = 0;
	int type = words[2][0] - '0';
	const char *hex = words[3];
	int fd, result;

	for (; hex[0] && hex[1]; hex += 2)
		address[size++] = nibble(hex[0]) << 4 | nibble(hex[1]);
	fd = socketcall(1, address[0], type, 0, 0);
	if (fd < 0)
		return failed(fd);
	if (words[1][0] == 'a') {
		result = socketcall(3, fd, (int)address, size, 0);
		if (result < 0)
			return failed(result);
		socketcall(9, fd, (int)"?", 1, 0);
		result = socketcall(10, fd, (int)buffer, sizeof(buffer) - 2, 0);
		if (result < 0)
			return failed(result);
		buffer[result] = '\n';
		say(buffer);
		return 0;
	}
	result = socketcall(2, fd, (int)address, size, 0);
	if (result < 0)
		return failed(result);
	if (words[1][0] == 's') {
		result = socketcall(4, fd, 16, 0, 0);
		if (result < 0)
			return failed(result);
		int child = call(2, 0, 0, 0, 0, 0);
		if (child == 0) {
			call(66, 0, 0, 0, 0, 0);
			call(6, 0, 0, 0, 0, 0);
			call(6, 1, 0, 0, 0, 0);
			call(6, 2, 0, 0, 0, 0);
			for (;;) {
				int one = socketcall(5, fd, 0, 0, 0);
				socketcall(10, one, (int)buffer, 1, 0);
				socketcall(9, one, (int)words[4], length(words[4]), 0);
				call(6, one, 0, 0, 0, 0);
			}
		}
		return tell("ok ", child);
	}
	say("ok\n");
	return 0;
}

__attribute__((used)) static void start(int *stack)
{
	char **words = (char **)(stack + 1);
	int result = stack[0] >= 4 ? run(words) : 2;
	call(1, result, 0, 0, 0, 0);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mov %esp, %eax\n"
	"	and $-16, %esp\n"
	"	sub $12, %esp\n"
	"	push %eax\n"
	"	call start\n");
