/* SPDX-License-Identifier: BSD-3-Clause */
#include "qtest.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace qemu
{
namespace
{

/* Numbers of files in QEMU; a machine's own begin behind them. */
enum : int { kSocketFile = 3, kMonitorFile, kMemoryFile, kFirmwareFile };

/* Where files lie here that are given to QEMU, so that no number is taken before it is copied. */
constexpr int kOutOfTheWay = 100;

int move_away(int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, kOutOfTheWay);

	close(fd);
	return moved;
}

/* Firmware that halts: cli; hlt; jmp to the hlt, at the reset vector. */
int make_firmware()
{
	static const uint8_t code[] = {0xfa, 0xf4, 0xeb, 0xfd};
	int fd = move_away(memfd_create("firmware", MFD_CLOEXEC));

	if (ftruncate(fd, 0x10000) || pwrite(fd, code, sizeof(code), 0xfff0) != sizeof(code))
		return -1;
	return fd;
}

const char *width_letter(unsigned width)
{
	return width == 1 ? "b" : width == 2 ? "w" : width == 4 ? "l" : "q";
}

std::string hex(uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), " 0x%llx", (unsigned long long)value);
	return text;
}

std::vector<std::string> command_line(const MachineConfig &config)
{
	std::vector<std::string> line = {"qemu-system-x86_64", "-nodefaults", "-no-user-config",
		"-display", "none", "-accel", "tcg", "-d", "guest_errors", "-m", "4G", "-M",
		"q35,smm=off,hpet=off,vmport=off,graphics=off,memory-backend=memory", "-object",
		"memory-backend-file,id=memory,size=4G,share=on,mem-path=/dev/fd/" +
			std::to_string(kMemoryFile),
		"-bios", "/dev/fd/" + std::to_string(kFirmwareFile), "-chardev",
		"socket,id=qtest,fd=" + std::to_string(kSocketFile), "-object",
		"qtest,id=protocol,chardev=qtest,log=none", "-chardev",
		"socket,id=monitor,fd=" + std::to_string(kMonitorFile), "-mon",
		"chardev=monitor,mode=control"};

	line.insert(line.end(), config.arguments.begin(), config.arguments.end());
	return line;
}

} // namespace

Qtest::~Qtest()
{
	kill();
	for (int fd : {memory_file_, errors_})
		if (fd >= 0)
			close(fd);
}

bool Qtest::start(const MachineConfig &config)
{
	uint64_t ignored;

	memory_file_ = move_away(memfd_create("guest", MFD_CLOEXEC));
	errors_ = move_away(memfd_create("errors", MFD_CLOEXEC));
	if (memory_file_ < 0 || errors_ < 0 || ftruncate(memory_file_, 2 * (off_t)kHalf))
		return false;
	gone_ = !spawn(config);
	/* Starting takes longer than an access, on a busy host a good deal. */
	int limit = std::exchange(limit_, 60000);
	bool answers = !gone_ && !in(0xcf8, 4, &ignored);

	limit_ = limit;
	return answers;
}

bool Qtest::spawn(const MachineConfig &config)
{
	int qtest[2], monitor[2], firmware = make_firmware();
	std::vector<std::string> line = command_line(config);
	std::vector<char *> arguments;
	std::vector<std::pair<int, int>> files;

	if (firmware < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qtest) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, monitor))
		return false;
	for (const auto &[ours, theirs] : config.files)
		files.emplace_back(fcntl(ours, F_DUPFD_CLOEXEC, kOutOfTheWay), theirs);
	for (std::string &word : line)
		arguments.push_back(word.data());
	arguments.push_back(nullptr);
	qtest[1] = move_away(qtest[1]);
	monitor[1] = move_away(monitor[1]);
	pid_ = fork();
	if (!pid_) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(errors_, STDOUT_FILENO);
		dup2(errors_, STDERR_FILENO);
		dup2(qtest[1], kSocketFile);
		dup2(monitor[1], kMonitorFile);
		dup2(memory_file_, kMemoryFile);
		dup2(firmware, kFirmwareFile);
		for (const auto &[ours, theirs] : files)
			dup2(ours, theirs);
		execvp(arguments[0], arguments.data());
		_exit(127);
	}
	for (int fd : {qtest[1], monitor[1], firmware})
		close(fd);
	for (const auto &[ours, theirs] : files)
		close(ours);
	protocol_.fd = qtest[0];
	monitor_.fd = monitor[0];
	return pid_ > 0;
}

void Qtest::kill()
{
	if (pid_ > 0) {
		::kill(pid_, SIGKILL);
		waitpid(pid_, nullptr, 0);
	}
	pid_ = -1;
	gone_ = true;
	for (Channel *channel : {&protocol_, &monitor_})
		if (channel->fd >= 0)
			close(std::exchange(channel->fd, -1));
}

void Qtest::freeze()
{
	if (pid_ > 0)
		::kill(pid_, SIGSTOP);
}

std::string Qtest::said() const
{
	std::string text(65536, '\0');
	ssize_t length = errors_ < 0 ? 0 : pread(errors_, text.data(), text.size(), 0);

	text.resize(length < 0 ? 0 : (size_t)length);
	return text;
}

/* Nothing that it might say later belongs to what is asked later. */
int Qtest::lose()
{
	gone_ = true;
	return -ENODEV;
}

bool Qtest::send(const Channel &channel, const std::string &text)
{
	return ::send(channel.fd, text.data(), text.size(), MSG_NOSIGNAL) == (ssize_t)text.size();
}

bool Qtest::read_line(Channel *channel, std::string *line)
{
	auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_);

	for (;;) {
		size_t newline = channel->pending.find('\n');
		char bytes[512];

		if (newline != std::string::npos) {
			*line = channel->pending.substr(0, newline);
			channel->pending.erase(0, newline + 1);
			return true;
		}
		auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
			end - std::chrono::steady_clock::now());
		struct pollfd wait = {channel->fd, POLLIN, 0};

		if (left.count() < 0 || poll(&wait, 1, (int)left.count()) <= 0)
			return false;
		ssize_t length = recv(channel->fd, bytes, sizeof(bytes), 0);
		if (length <= 0)
			return false;
		channel->pending.append(bytes, (size_t)length);
	}
}

int Qtest::ask(const std::string &command, uint64_t *value)
{
	std::string line;

	if (gone_)
		return -ENODEV;
	if (!send(protocol_, command + "\n") || !read_line(&protocol_, &line) ||
		line.rfind("OK", 0))
		return lose();
	if (value)
		*value = line.size() > 3 ? strtoull(line.c_str() + 3, nullptr, 0) : 0;
	return 0;
}

int Qtest::in(uint16_t port, unsigned width, uint64_t *value)
{
	return ask(std::string("in") + width_letter(width) + hex(port), value);
}

int Qtest::out(uint16_t port, unsigned width, uint64_t value)
{
	return ask(std::string("out") + width_letter(width) + hex(port) + hex(value), nullptr);
}

int Qtest::read(uint64_t address, unsigned width, uint64_t *value)
{
	return ask(std::string("read") + width_letter(width) + hex(address), value);
}

int Qtest::write(uint64_t address, unsigned width, uint64_t value)
{
	return ask(std::string("write") + width_letter(width) + hex(address) + hex(value), nullptr);
}

/* Its greeting and its events come in between. */
bool Qtest::command(const std::string &text)
{
	std::string line;

	if (gone_ || !send(monitor_, text + "\n"))
		return false;
	while (read_line(&monitor_, &line)) {
		if (line.find("\"error\"") != std::string::npos)
			return false;
		if (line.find("\"return\"") != std::string::npos)
			return true;
	}
	return false;
}

bool Qtest::set_link(const std::string &name, bool up)
{
	if (!greeted_)
		greeted_ = command("{\"execute\": \"qmp_capabilities\"}");
	return greeted_ && command("{\"execute\": \"set_link\", \"arguments\": {\"name\": \"" +
				   name + "\", \"up\": " + (up ? "true" : "false") + "}}");
}

} // namespace qemu
