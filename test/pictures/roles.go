package main

import "fmt"

// roles draws the roles of a virtual router and the ways between them.
func roles() []byte {
	const (
		wide, high = 150.0, 60.0
		y1, y2     = 70.0, 240.0
	)
	p := begin(330, "The roles of a virtual router", "INIT leads to BACKUP once every check has answered. BACKUP becomes MASTER when nobody better is heard; "+
		"MASTER becomes BACKUP when a better master is heard. Both go to FAULT by a check, the link or an operator, and FAULT leads to BACKUP when no reason is left.")
	p.text("title", "start", 16, 28, "The roles of a virtual router")
	p.printf(`<defs><marker id="h" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path class="head" d="M0 0l8 4l-8 4z"/></marker></defs>` + "\n")
	boxes := []struct {
		name, text string
		x, y       float64
	}{
		{"INIT", "waits for its checks", 20, y1},
		{"BACKUP", "listens, holds nothing", 290, y1},
		{"MASTER", "holds the addresses", 630, y1},
		{"FAULT", "out of the election", 460, y2},
	}
	for _, b := range boxes {
		p.rect("box", b.x, b.y, wide, high)
		p.text("name", "middle", b.x+wide/2, b.y+26, b.name)
		p.text("small", "middle", b.x+wide/2, b.y+46, b.text)
	}
	arrow := func(d string) { p.printf(`<path class="line" marker-end="url(#h)" d="%s"/>`+"\n", d) }
	label := func(anchor string, x, y float64, lines ...string) {
		for i, l := range lines {
			p.text("", anchor, x, y+16*float64(i), l)
		}
	}
	arrow(fmt.Sprintf("M170 %.0fH288", y1+30))
	label("middle", 229, y1+6, "each has", "answered")
	arrow(fmt.Sprintf("M440 %.0fH628", y1+18))
	label("middle", 534, y1-8, "silence, priority 0,", "or it is better")
	arrow(fmt.Sprintf("M630 %.0fH442", y1+44))
	label("middle", 534, y1+62, "a better master")
	arrow(fmt.Sprintf("M330 %.0fV%.0fH458", y1+high, y2+30))
	label("end", 322, y2-36, "a check fails,", "the link is down,", "an operator says so")
	arrow(fmt.Sprintf("M690 %.0fV%.0fH612", y1+high, y2+30))
	label("start", 700, y2-36, "the same;", "it hands over")
	arrow(fmt.Sprintf("M520 %.0fV%.0fH400V%.0f", y2, y1+110, y1+high+2))
	label("start", 408, y1+128, "no reason is left")
	return p.end()
}
