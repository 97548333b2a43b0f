package keepalived

import "fmt"

// Pos is where something stands in the input.
type Pos struct {
	File   string // as it was named, by the caller or by an include
	Line   int    // from 1; of a definition that is used, that of the use
	Column int    // from 1, in bytes
}

// String returns FILE:LINE:COLUMN.
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Word is one word of a line, after definitions have been replaced and quotes and
// escapes resolved.
type Word struct {
	Text   string
	Quoted bool // it stood in double quotes
	Pos    Pos
}

// Block is one line, its keyword first, and the lines in braces after it.
type Block struct {
	Words    []Word // at least one
	Braces   bool   // { } followed
	Children []*Block
}

// Keyword is the first word.
func (b *Block) Keyword() string { return b.Words[0].Text }

// Arguments are the other words.
func (b *Block) Arguments() []Word { return b.Words[1:] }

// Pos is where the block begins.
func (b *Block) Pos() Pos { return b.Words[0].Pos }

// File is a file as keepalived would see it, with what it includes in its place.
type File struct {
	Name   string
	Blocks []*Block
	Report Report // of what Read has dealt with: includes, definitions, lines of other hosts
}
