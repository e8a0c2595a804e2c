// Command go-runner-stand-in stands in for go-runner, the program that Kubernetes' own images start their binaries with, in a scenario
// that plays kops' manifests. It is not go-runner: it knows the two flags that kops gives, starts the program, copies what that says to
// the log file and to its own output, hands signals on, and ends with the program's exit code.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	logFile := flag.String("log-file", "", "write the program's output here")
	alsoStdout := flag.Bool("also-stdout", false, "and to standard output")
	flag.Parse()
	code, err := run(*logFile, *alsoStdout, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "go-runner-stand-in:", err)
	}
	os.Exit(code)
}

func run(logFile string, alsoStdout bool, program []string) (int, error) {
	if len(program) == 0 {
		return 1, errors.New("no program to start")
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 1, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	var out io.Writer = log
	if alsoStdout {
		out = io.MultiWriter(os.Stdout, log)
	}
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start %s: %w", program[0], err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	if cmd.ProcessState == nil {
		return 1, fmt.Errorf("wait for %s: %w", program[0], err)
	}
	return max(cmd.ProcessState.ExitCode(), 0), nil
}
