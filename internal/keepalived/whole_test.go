package keepalived

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// Each folder of testdata/whole has the files of the nodes of one deployment, named
// after the nodes, as Kolla, OpenStack-Ansible and others write them. What becomes of
// them together stands beside them.
func TestWhole(t *testing.T) {
	t.Chdir("testdata/whole")
	folders, err := filepath.Glob("*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("%d folders, err %v", len(folders), err)
	}
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) {
			names, err := filepath.Glob(folder + "/*.conf")
			if err != nil {
				t.Fatal(err)
			}
			var sources []Source
			for _, name := range names {
				node := strings.TrimSuffix(filepath.Base(name), ".conf")
				f, err := Read(name, Options{ID: node})
				if err != nil {
					t.Fatal(err)
				}
				d := Convert(f)
				for _, problem := range unaccounted(f.Blocks, d.Report) {
					t.Error(problem)
				}
				sources = append(sources, Source{Node: node, Document: d})
			}
			d := Merge(sources)
			d.Report.Sort()
			var text, report bytes.Buffer
			if _, err := d.WriteTo(&text); err != nil {
				t.Fatal(err)
			}
			if err := d.Report.Write(&report, false); err != nil {
				t.Fatal(err)
			}
			golden(t, folder+"/baton.yaml", text.String())
			golden(t, folder+"/report", report.String())
			loads(t, text.Bytes())
		})
	}
}
