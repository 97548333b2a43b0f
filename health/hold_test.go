package health

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHold(t *testing.T) {
	// Each step is at a moment in minutes; until is what Until says after it.
	type step struct {
		at    float64
		event string
		until float64
	}
	tests := map[string][]step{
		"never failed": {{0, "served", 0}, {9, "vacant", 0}, {10, "occupied", 0}},
		"doubles to the most": {
			{10, "failed", 15}, {15, "served", 15}, {16, "failed", 26}, {26, "failed", 46}, {46, "failed", 86}, {90, "failed", 150}, {150, "failed", 210},
		},
		"one incident counts once": {{10, "failed", 15}, {12, "failed", 15}, {14.9, "failed", 15}, {15, "failed", 25}},
		"forgotten after serving for as long": {
			{10, "failed", 15}, {20, "served", 15}, {25, "failed", 30},
		},
		"not forgotten before": {{10, "failed", 15}, {20, "served", 15}, {24.9, "failed", 34.9}},
		"the wait that counts is the last": {
			{10, "failed", 15}, {15, "failed", 25}, {30, "served", 25}, {38, "failed", 58},
		},
		"forgotten while it serves": {{10, "failed", 15}, {20, "served", 15}, {26, "served", 0}, {30, "failed", 35}},
		"serving is not a sum": {
			{10, "failed", 15}, {20, "served", 15}, {23, "occupied", 15}, {90, "served", 15}, {93, "failed", 103},
		},
		"vacant ends it at once, the first time": {{10, "failed", 15}, {11, "vacant", 10}},
		"vacant later waits": {
			{10, "failed", 15}, {11, "vacant", 10}, {11, "served", 10},
			{12, "failed", 22}, {12, "vacant", 12 + 1.0/6}, {12.5, "served", 12 + 1.0/6},
			{13, "failed", 33}, {13, "vacant", 13 + 1.0/3}, {13.5, "served", 13 + 1.0/3},
			{14, "failed", 54}, {14, "vacant", 14 + 2.0/3},
		},
		"a start that fails counts, too": {{10, "failed", 15}, {11, "vacant", 10}, {12, "failed", 22}, {12, "vacant", 12 + 1.0/6}},
		"somebody takes the role after all": {
			{10, "failed", 15}, {11, "vacant", 10}, {11.1, "occupied", 15}, {12, "vacant", 10},
		},
		"an unused end is not counted": {
			{10, "failed", 15}, {11, "vacant", 10}, {11.1, "occupied", 15}, {20, "failed", 30}, {21, "vacant", 20},
		},
		"a used end is an end": {{10, "failed", 15}, {11, "vacant", 10}, {11, "served", 10}, {12, "occupied", 10}},
		"vacant after its end": {{10, "failed", 15}, {16, "vacant", 15}},
		"cleared":              {{10, "failed", 15}, {11, "clear", 0}, {12, "failed", 17}},
		"handing over is forgotten": {
			{10, "failed", 15}, {11, "vacant", 10}, {11, "served", 10}, {20, "failed", 25}, {20, "vacant", 20},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			h := NewHold(5*time.Minute, time.Hour)
			for i, s := range steps {
				now := time.Duration(s.at * float64(time.Minute)).Round(time.Second)
				switch s.event {
				case "failed":
					h.Failed(now)
				case "vacant":
					h.Vacant(now)
				case "occupied":
					h.Occupied()
				case "served":
					h.Served(now)
				case "clear":
					h.Clear()
				}
				if want := time.Duration(s.until * float64(time.Minute)).Round(time.Second); h.Until() != want {
					t.Fatalf("step %d, %s at %v: until %v, want %v", i, s.event, now, h.Until(), want)
				}
			}
		})
	}
}

func TestHold_Zero(t *testing.T) {
	var h Hold
	h.Failed(time.Minute)
	if h.Until() > time.Minute {
		t.Errorf("holds until %v", h.Until())
	}
}

// Two nodes that fail soon after each promotion: the pauses between two
// promotions grow to the longest, so that the role is not handed to and fro.
func TestHold_TwoBrokenNodes(t *testing.T) {
	nodes := []Hold{NewHold(5*time.Minute, time.Hour), NewHold(5*time.Minute, time.Hour)}
	now, promotions := time.Duration(0), 0
	for end := 12 * time.Hour; now < end; now += time.Second {
		for i := range nodes {
			if now < nodes[i].Until() {
				continue
			}
			promotions++
			nodes[i].Served(now)
			nodes[1-i].Occupied()
			now += 20 * time.Second
			nodes[i].Failed(now)
		}
		for i := range nodes {
			nodes[i].Vacant(now + 3*time.Second)
		}
	}
	// The first hour costs a dozen; then it is about two an hour.
	if promotions < 10 || promotions > 60 {
		t.Errorf("%d promotions in 12 hours", promotions)
	}
}

func TestHold_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := time.Duration(rapid.IntRange(1, 600).Draw(t, "first")) * time.Second
		most := time.Duration(rapid.IntRange(1, 7200).Draw(t, "most")) * time.Second
		h := NewHold(first, most)
		now := time.Duration(0)
		for range 60 {
			now += time.Duration(rapid.IntRange(0, 4000).Draw(t, "pause")) * time.Second / 4
			before := h.Until()
			event := rapid.SampledFrom([]string{"failed", "vacant", "occupied", "served"}).Draw(t, "event")
			switch event {
			case "failed":
				h.Failed(now)
				if now >= before && h.Until() < now+first {
					t.Fatalf("a fault at %v holds until %v", now, h.Until())
				}
				if now < before && h.Until() != before {
					t.Fatal("a fault within a hold changes it")
				}
			case "vacant":
				h.Vacant(now)
				if h.Until() > before {
					t.Fatal("a vacancy prolongs the hold")
				}
			case "occupied":
				h.Occupied()
			case "served":
				h.Served(now)
			}
			if h.Until() > now+max(first, most) {
				t.Fatal(fmt.Sprintf("%s at %v: until %v", event, now, h.Until()))
			}
		}
	})
}
