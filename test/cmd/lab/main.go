// Command lab boots real control planes on this machine, and removes them. See package lab.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"k8s-audit-enabler.io/test/lab"
	"k8s-audit-enabler.io/test/lab/parts"
)

const usage = `usage: lab COMMAND
  deps                              install the Debian packages that are missing
  deps browser                      install a headless browser, where there is none and Debian has one
  build [-kubernetes VERSION]       build what the hosts are made of
  up [-nodes N] [-workers N] [-kubernetes VERSION]
                                    boot a new cluster; what was there is removed
  join NAME                         boot cpN or wN and join it
  status                            hosts, and what there is of the lab on this machine
  shell NAME                        a shell in a host
  exec NAME [--] COMMAND...         run a command in a host
  start | halt | kill NAME          boot again; stop in order; cut the power
  images ARCHIVE...                 import docker archives into every host
  kubeconfig                        print the path of the kubeconfig
  kubectl ARGS...                   run the cluster's kubectl
  down                              remove everything
LAB_ROOT, LAB_BRIDGE, LAB_SUBNET and LAB_POD_SUBNET tell two labs apart.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	var exit *exec.ExitError
	switch {
	case errors.Is(err, flag.ErrHelp), errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case errors.As(err, &exit) && exit.ExitCode() > 0 && len(exit.Stderr) == 0 && errors.Is(err, errForeign):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

var (
	errUsage = errors.New("usage")
	// errForeign marks the exit code of a command that was run for the user, and has said itself what was wrong.
	errForeign = errors.New("command failed")
)

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	command, args := args[0], args[1:]
	var opts lab.Options
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	nodes := flags.Int("nodes", 1, "number of control planes")
	flags.IntVar(&opts.Workers, "workers", 0, "number of workers")
	flags.StringVar(&opts.KubernetesVersion, "kubernetes", parts.DefaultKubernetes, "version to run")
	if command != "exec" && command != "kubectl" {
		err := flags.Parse(args)
		if err != nil {
			return errUsage
		}
		args = flags.Args()
	}
	opts.Log = os.Stderr
	if command == "deps" && len(args) == 1 && args[0] == "browser" {
		lab.InstallBrowser(ctx, os.Stderr)
		return nil
	}
	if command == "deps" {
		return lab.InstallPackages(ctx, os.Stderr)
	}
	if command == "build" {
		return build(ctx, opts.KubernetesVersion)
	}
	l, err := lab.Open(opts)
	if err != nil {
		return err
	}
	defer l.Close()
	switch command {
	case "up":
		return up(ctx, l, *nodes)
	case "down":
		return l.Down(ctx)
	case "status":
		return status(l)
	case "images":
		return l.ImportImages(ctx, args...)
	case "kubeconfig":
		fmt.Println(l.Kubeconfig())
		return nil
	case "kubectl":
		return attached(exec.CommandContext(context.WithoutCancel(ctx), l.Program("kubectl"), append([]string{"--kubeconfig", l.Kubeconfig()}, args...)...))
	}
	return onHost(ctx, l, command, args)
}

// onHost runs the commands that have a host's name as their first argument.
func onHost(ctx context.Context, l *lab.Lab, command string, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	name, args := args[0], args[1:]
	if command == "join" {
		_, err := l.Join(ctx, name)
		return err
	}
	host, err := l.Host(name)
	if err != nil {
		return err
	}
	switch command {
	case "start":
		return host.Start(ctx)
	case "halt":
		return host.Halt(ctx)
	case "kill":
		return host.Kill(ctx)
	case "shell":
		args = []string{"bash", "-l"}
	case "exec":
		if len(args) > 0 && args[0] == "--" {
			args = args[1:]
		}
	default:
		return errUsage
	}
	if len(args) == 0 {
		return errUsage
	}
	cmd, err := host.Command(context.WithoutCancel(ctx), args...) // an interrupt is for what runs there
	if err != nil {
		return err
	}
	return attached(cmd)
}

// attached runs a command with this process's own input and output.
func attached(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if err != nil {
		return errors.Join(errForeign, err)
	}
	return nil
}

func build(ctx context.Context, version string) error {
	cache, err := parts.Open(func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	if err != nil {
		return err
	}
	if version == parts.DynamicKubernetes {
		recipe, err := parts.Kubernetes(version)
		if err != nil {
			return err
		}
		dir, err := cache.Build(ctx, recipe)
		fmt.Println(dir)
		return err
	}
	_, err = cache.Set(ctx, version)
	return err
}

func up(ctx context.Context, l *lab.Lab, nodes int) error {
	err := l.Up(ctx, nodes)
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\n", l.Kubeconfig())
	return nil
}

func status(l *lab.Lab) error {
	for _, host := range l.Hosts() {
		pid, err := host.PID()
		switch {
		case errors.Is(err, lab.ErrOff):
			fmt.Printf("%s\toff\t%s\n", host.Name(), host.IP())
		case err != nil:
			return err
		default:
			fmt.Printf("%s\ton\t%s\tpid %d\n", host.Name(), host.IP(), pid)
		}
	}
	for _, line := range l.Remains() {
		fmt.Println(line)
	}
	return nil
}
