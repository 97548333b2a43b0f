package keepalived

// Read reads a file as keepalived would on the host whose configuration id is given,
// by default its short host name.
func Read(name, id string) (*File, error) { return &File{Name: name}, nil }
