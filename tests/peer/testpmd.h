/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_PEER_TESTPMD_H
#define PLX_TESTS_PEER_TESTPMD_H

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

/*
 * DPDK's testpmd with one vhost port, whose frames it sends back as they are. It runs on ordinary
 * pages and two threads, and ends when the test does.
 */
class Testpmd
{
      public:
	/* @port: arguments of net_vhost behind the socket */
	Testpmd(const std::string &socket, const std::string &port, unsigned queues = 1)
	    : path(socket), log(socket + ".log"), arguments(port), pairs(queues)
	{
	}

	~Testpmd()
	{
		end(SIGKILL);
		unlink(log.c_str());
		unlink(path.c_str());
	}

	void start()
	{
		const std::string vdev =
			"net_vhost0,iface=" + path + ",queues=" + std::to_string(pairs) + arguments;
		const std::string prefix = "peer" + std::to_string(getpid());
		const std::string queues = std::to_string(pairs);
		/* The thread that forwards has the last core for itself, if there are several. */
		const std::string cores =
			"0@0,1@" + std::to_string(sysconf(_SC_NPROCESSORS_ONLN) - 1);
		std::vector<const char *> argv = {"dpdk-testpmd", "--no-pci", "--no-huge", "-m",
			"256", "--single-file-segments", "--file-prefix", prefix.c_str(),
			"--lcores", cores.c_str(), "--main-lcore", "0", "--no-telemetry", "--vdev",
			vdev.c_str(), "--", "--no-mlockall", "--total-num-mbufs=8192",
			"--auto-start", "--forward-mode=io", "--no-flush-rx", "--stats-period=3600",
			"--rxq", queues.c_str(), "--txq", queues.c_str(), nullptr};

		/* As server it does not replace what an earlier one left behind. */
		if (arguments.find("client=1") == std::string::npos)
			unlink(path.c_str());
		pid = fork();
		ASSERT_GE(pid, 0);
		if (pid)
			return;
		/* A test that is ended from outside takes it along. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int out = open(log.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
		dup2(out, STDOUT_FILENO);
		dup2(out, STDERR_FILENO);
		execvp(argv[0], const_cast<char *const *>(argv.data()));
		dprintf(STDERR_FILENO, "there is no dpdk-testpmd: install the package dpdk-dev\n");
		_exit(127);
	}

	void end(int signal)
	{
		int status;

		if (pid <= 0)
			return;
		kill(pid, signal);
		waitpid(pid, &status, 0);
		pid = 0;
	}

	/* What it said, for a test that failed. */
	std::string said() const
	{
		std::ifstream file(log);
		std::ostringstream text;

		text << file.rdbuf();
		return text.str();
	}

      private:
	std::string path, log, arguments;
	unsigned pairs;
	pid_t pid = 0;
};

#endif
