package config

func (w *walk) pingCheck(f fields, c *Check) {
	c.Ping = &Ping{Address: w.checkAddress(f, "address"), Interface: w.checkInterface(f)}
	if a := c.Ping.Address; a.Is6() && a.IsLinkLocalUnicast() && !f.has("interface") {
		n := f.get("address")
		w.errorAt(n.place, n.path, "add interface: NAME", "%s is link-local, and there is no interface", a)
	}
}

func (w *walk) fileCheck(f fields, c *Check) {
	c.File = &File{Path: w.path(f, "path", "/etc/baton/maintenance", inCheck)}
	switch f.oneOf("want", "present", "absent", "number") {
	case "absent":
		c.File.Want = FileAbsent
	case "number":
		c.File.Want = FileNumber
	}
}

// numbered tells whether a check has a number, which multiplies the weights of whoever tracks it. It asks the tree: routers are
// read before checks.
func (w *walk) numbered(name string) bool {
	n := w.checkNode[name]
	want := n.child("want")
	if want == nil {
		want = w.checkDefaults.child("want")
	}
	return typeOf(n, w.checkDefaults.child("type")) == FileCheck && want != nil && want.text == "number"
}

func (w *walk) interfaceCheck(f fields, c *Check) {
	c.Presence = &Presence{Interface: w.checkInterface(f)}
}

func (w *walk) addressCheck(f fields, c *Check) {
	c.Presence = &Presence{Address: w.checkAddress(f, "address"), Interface: w.checkInterface(f)}
}

func (w *walk) routeCheck(f fields, c *Check) {
	p := &Presence{Via: w.checkAddress(f, "via"), Interface: w.checkInterface(f), Table: w.table(f)}
	c.Presence = p
	n := f.scalar("to")
	switch {
	case n == nil:
		return
	case n.text == "default":
		p.To = anywhere(p.Via.Is6())
		return
	}
	p.To = w.network(n)
	if p.To.IsValid() && p.Via.IsValid() && p.To.Addr().Is6() != p.Via.Is6() {
		w.errorAt(n.place, n.path, "", "%s is of another family than via, %s", p.To, p.Via)
	}
}
