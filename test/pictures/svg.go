package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// svg is a picture under way. It is 800 wide; text is 13 high and more, so that it can be read at that width. Its ground is
// its own, and light or dark as the reader's screen is.
type svg struct{ bytes.Buffer }

const width = 800

const style = `<style>
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .name { font-weight: 600 }
  .small { fill: #59636e }
  .ground { fill: #ffffff }
  .box { fill: #f6f8fa; stroke: #818b98; stroke-width: 1.5 }
  .line { stroke: #818b98; fill: none; stroke-width: 1.5 }
  .head { fill: #818b98 }
  .grid { stroke: #d1d9e0 }
  .event { stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 4 3 }
  .eventText { fill: #bc4c00 }
  .a { fill: #54aeff } .b { fill: #c297ff }
  .answered { fill: #4ac26b } .lost { fill: #cf222e }
  .lostText { fill: #cf222e; font-weight: 600 } .wellText { fill: #1a7f37; font-weight: 600 }
  .advert { stroke: #1f2328; stroke-width: 1.5 } .leaves { fill: #bc4c00 } .announce { fill: #1f2328 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 }
    .ground { fill: #0d1117 } .box { fill: #151b23; stroke: #656c76 } .line { stroke: #9198a1 } .head { fill: #9198a1 }
    .grid { stroke: #3d444d } .event { stroke: #f0883e } .eventText { fill: #f0883e }
    .a { fill: #1f6feb } .b { fill: #8957e5 }
    .answered { fill: #238636 } .lost { fill: #f85149 } .lostText { fill: #f85149 } .wellText { fill: #3fb950 }
    .advert { stroke: #f0f6fc } .leaves { fill: #f0883e } .announce { fill: #f0f6fc }
  }
</style>
`

// begin starts a picture; what it shows in words is for those who cannot see it.
func begin(height int, title, words string) *svg {
	s := &svg{}
	s.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%d" role="img" aria-labelledby="t d">`+"\n", width, height, height)
	s.printf("<title id=\"t\">%s</title>\n<desc id=\"d\">%s</desc>\n%s", escaped(title), escaped(words), style)
	s.printf(`<rect class="ground" width="%d" height="%d" rx="6"/>`+"\n", width, height)
	return s
}

func (s *svg) end() []byte {
	s.printf("</svg>\n")
	return s.Bytes()
}

func (s *svg) printf(format string, args ...any) { fmt.Fprintf(&s.Buffer, format, args...) }

// text writes at a point; anchor is start, middle or end.
func (s *svg) text(class, anchor string, x, y float64, text string) {
	s.printf(`<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`+"\n", class, anchor, x, y, escaped(text))
}

func (s *svg) rect(class string, x, y, w, h float64) {
	s.printf(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2"/>`+"\n", class, x, y, w, h)
}

func (s *svg) line(class string, x1, y1, x2, y2 float64) {
	s.printf(`<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

func (s *svg) path(class, d string) { s.printf(`<path class="%s" d="%s"/>`+"\n", class, d) }

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes all
	return b.String()
}
