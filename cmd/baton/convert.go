package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"baton/internal/config"
	"baton/internal/keepalived"
)

const keepalivedConfig = "/etc/keepalived/keepalived.conf"

func newConvertCommand() *cobra.Command {
	var id, nodes string
	var everything bool
	cmd := &cobra.Command{
		Use:   "convert [FILE | --nodes NAME=FILE,NAME=FILE]",
		Short: "Make a baton.yaml of a keepalived.conf",
		Long: `Make a baton.yaml of a keepalived.conf, by default ` + keepalivedConfig + `, and
write it to standard output. Nothing is changed and nothing is started.

The report goes to standard error: what is not needed and why, what differs, what
baton does not have and what to do instead, and what keepalived itself ignores, such
as misspelt words. What was simply converted is counted; --all lists it as well.

With --nodes it makes one file of those of several nodes. NAME is the host's name, and
with NAME@ADDRESS its own address, where the file does not tell it.

Exit status 0: all of it is in the output; 1: something is not, or not exactly; 3: the
file cannot be read as keepalived reads it, and nothing is written.`,
		Args: atMostOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			flag := cmd.Flags().Lookup
			if flag("nodes").Changed {
				if len(args) > 0 || flag("id").Changed {
					return &usageError{errors.New("--nodes names the files, and the names are the ids of the configurations")}
				}
				sources, err := parseSources(nodes)
				if err != nil {
					return &usageError{err}
				}
				return convertNodes(cmd, sources, everything)
			}
			path := keepalivedConfig
			if len(args) == 1 {
				path = args[0]
			}
			d, err := convertFile(path, id)
			if err != nil {
				return notRead(cmd, err)
			}
			return writeConverted(cmd, d, everything)
		},
	}
	cmd.Flags().StringVarP(&id, "id", "i", "", "which lines that begin with @ID count (default: the short host name)")
	cmd.Flags().StringVar(&nodes, "nodes", "", "the files of all nodes: NAME[@ADDRESS]=FILE,...")
	cmd.Flags().BoolVar(&everything, "all", false, "list what was converted as well")
	return cmd
}

// namedFile is one value of --nodes.
type namedFile struct {
	node, path string
	address    netip.Addr
}

func parseSources(text string) ([]namedFile, error) {
	var all []namedFile
	names := map[string]bool{}
	for _, part := range strings.Split(text, ",") {
		left, path, ok := strings.Cut(part, "=")
		name, address, has := strings.Cut(left, "@")
		f := namedFile{node: name, path: path}
		switch {
		case !ok || name == "" || path == "":
			return nil, fmt.Errorf("--nodes %q: want NAME=FILE or NAME@ADDRESS=FILE", part)
		case names[name]:
			return nil, fmt.Errorf("--nodes: %s twice", name)
		case has:
			a, err := netip.ParseAddr(address)
			if err != nil || a.Zone() != "" {
				return nil, fmt.Errorf("--nodes %q: %q is no IP address", part, address)
			}
			f.address = a
		}
		names[name] = true
		all = append(all, f)
	}
	return all, nil
}

func convertFile(path, id string) (*keepalived.Document, error) {
	f, err := keepalived.Read(path, keepalived.Options{ID: id, Env: os.LookupEnv})
	if err != nil {
		return nil, err
	}
	return keepalived.Convert(f), nil
}

func convertNodes(cmd *cobra.Command, files []namedFile, everything bool) error {
	var sources []keepalived.Source
	for _, f := range files {
		id, _, _ := strings.Cut(f.node, ".") // keepalived takes the short host name
		d, err := convertFile(f.path, id)
		if err != nil {
			return notRead(cmd, fmt.Errorf("%s: %w", f.node, err))
		}
		sources = append(sources, keepalived.Source{Node: f.node, Address: f.address, Document: d})
	}
	return writeConverted(cmd, keepalived.Merge(sources), everything)
}

// notRead tells of a file that is none of keepalived's.
func notRead(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "baton: %v\n", err)
	return toldError(exitMistake)
}

// writeConverted writes what came of it, unless baton itself would refuse it.
func writeConverted(cmd *cobra.Command, d *keepalived.Document, everything bool) error {
	var text bytes.Buffer
	if _, err := d.WriteTo(&text); err != nil {
		return err
	}
	d.Report.Sort()
	if err := d.Report.Write(cmd.ErrOrStderr(), everything); err != nil {
		return err
	}
	if d.Routers() == 0 {
		return errors.New("no vrrp_instance is there that baton could run: nothing was written")
	}
	if check := config.ValidateText("baton.yaml", text.Bytes()); check.Errors() > 0 {
		_, _ = check.WriteTo(cmd.ErrOrStderr())
		return errors.New("what came of it is not a configuration of baton: this is a mistake of `baton convert`, please report it with the file; nothing was written")
	}
	if _, err := cmd.OutOrStdout().Write(text.Bytes()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if !d.Report.Complete() {
		return toldError(exitFailed)
	}
	return nil
}
