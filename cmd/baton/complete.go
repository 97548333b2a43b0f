package main

import (
	"strings"

	"github.com/spf13/cobra"

	"baton/internal/control"
)

// completeNames has the shell complete what a command line of ours names: the words
// in capitals of its usage say what stands there.
func completeNames(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		completeNames(c)
	}
	words := strings.Fields(cmd.Use)
	if len(words) < 2 || cmd.ValidArgsFunction != nil || len(cmd.ValidArgs) > 0 {
		return
	}
	switch what := strings.Trim(words[1], "[].…"); {
	case what == "ROUTER":
		cmd.ValidArgsFunction = complete(strings.Contains(words[1], "..") || strings.Contains(words[1], "…"), routerNames)
	case what == "NAME" && cmd.HasParent() && cmd.Parent().Name() == "checks":
		cmd.ValidArgsFunction = complete(false, checkNames)
	case what == "[FILE]", what == "FILE": // the shell's own completion
	default:
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
}

// complete offers names that the daemon knows, each once: for the first argument, or
// for all of them. Where no daemon answers it offers nothing.
func complete(all bool, names func(cmd *cobra.Command, client *control.Client) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && !all {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		dir := defaultRuntimeDir
		if f := cmd.Flags().Lookup("runtime-dir"); f != nil {
			dir = f.Value.String()
		}
		return names(cmd, control.Dial(dir)), cobra.ShellCompDirectiveNoFileComp
	}
}

func routerNames(cmd *cobra.Command, client *control.Client) []cobra.Completion {
	status, err := client.Status(cmd.Context())
	if err != nil {
		return nil
	}
	var names []cobra.Completion
	for _, r := range status.Routers {
		names = append(names, cobra.CompletionWithDesc(r.Name, r.Role))
	}
	return names
}

func checkNames(cmd *cobra.Command, client *control.Client) []cobra.Completion {
	checks, err := client.Checks(cmd.Context())
	if err != nil {
		return nil
	}
	var names []cobra.Completion
	for _, c := range checks {
		names = append(names, cobra.CompletionWithDesc(c.Name, c.Verdict))
	}
	return names
}
