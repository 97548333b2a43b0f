package keepalived

// readChecks keeps what vrrp_script, vrrp_track_process and vrrp_track_file define. A
// check is written once somebody tracks it.
func (c *conversion) readChecks(blocks []*Block) {}

// readTrack reads a track_script, track_process, track_file, track_interface or
// track_bfd block of an instance or a sync group.
func (c *conversion) readTrack(e *election, b *Block) {}

// readNotify reads a line notify, notify_master and so on of an instance or a sync
// group.
func (c *conversion) readNotify(e *election, b *Block) {}
