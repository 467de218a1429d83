/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_RECOVERY_MIRROR_H
#define PLX_TESTS_RECOVERY_MIRROR_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

/* A vhost-user backend in a process of its own, which sends back what it gets and can be killed. */
class Mirror
{
      public:
	static std::string program;

	Mirror(const std::string &socket_, bool client_, bool packed_)
	    : socket(socket_), client(client_), packed(packed_)
	{
	}
	~Mirror()
	{
		kill();
		if (!client)
			unlink(socket.c_str());
	}
	Mirror(const Mirror &) = delete;
	Mirror &operator=(const Mirror &) = delete;

	/* Return: whether there is a process. */
	bool start()
	{
		std::vector<const char *> argv = {program.c_str(), "--mirror"};

		if (client)
			argv.push_back("--client");
		if (!packed)
			argv.push_back("--no-packed");
		argv.push_back(socket.c_str());
		argv.push_back(nullptr);
		pid = fork();
		if (pid)
			return pid > 0;
		/* A test that is ended from outside takes it along. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (freopen("/dev/null", "w", stdout))
			execv(argv[0], const_cast<char *const *>(argv.data()));
		_exit(127);
	}

	/* As a crash does. */
	void kill()
	{
		if (pid <= 0)
			return;
		::kill(pid, SIGKILL);
		waitpid(pid, nullptr, 0);
		pid = 0;
	}

      private:
	std::string socket;
	bool client, packed;
	pid_t pid = 0;
};

inline std::string Mirror::program;

#endif
