package keepalived

// Document is a baton.yaml to be.
type Document struct {
	source string // which file it was made of
	top    mapping
	Report Report
}

// Convert makes a Document of the file of one node. What it cannot make is in the
// Report, never an error; the Document passes validation in any case.
func Convert(f *File) *Document {
	c := &conversion{report: f.Report, checks: newMapping()}
	c.readGlobals(f.Blocks)
	c.readChecks(f.Blocks)
	c.readInstances(f.Blocks)
	d := c.document()
	d.source = f.Name
	return d
}

// conversion is the work on one file.
type conversion struct {
	report Report
	checks mapping // those that are tracked
}

// election is what an instance, or a sync group, says of its election, and what baton
// writes on a router, or on a group in place of its members.
type election struct {
	name   string
	track  []tracked
	notify mapping
}

// tracked is one entry of `track`.
type tracked struct {
	check  string // of `checks`
	weight int    // 0: fault
	pos    Pos
}
