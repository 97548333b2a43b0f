package keepalived

// readGlobals reads global_defs, before all else: they are defaults, wherever they stand.
func (c *conversion) readGlobals(blocks []*Block) {}

// readInstances reads vrrp_instance and vrrp_sync_group, and accounts for every block
// that nobody else has.
func (c *conversion) readInstances(blocks []*Block) {}

func (c *conversion) document() *Document { return &Document{top: newMapping(), Report: c.report} }
