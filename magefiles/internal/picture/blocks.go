package picture

import (
	"fmt"
	"net/netip"
	"strings"
)

// Measures of the picture of blocks.
const (
	mapSide   = 32   // cells of a pool's map side by side
	mapCell   = 8.0  // a block
	mapMost   = 2048 // blocks that a map shows; larger pools have none
	blockCols = 4
	cellMost  = 256 // addresses that are drawn one by one
)

// drawBlocks draws who holds which addresses: of each pool a map of all blocks that it can be cut into, beside it those that a node
// holds, with their addresses.
func (p *Picture) drawBlocks() string {
	c := &canvas{}
	y := margin
	w := 2*margin + mapSide*mapCell + 40 + blockCols*196
	if p.Hidden != "" {
		c.text(margin, y+20, "text", p.Hidden)
		return c.end(w, 90, "Blocks of "+p.Lab, p.Hidden)
	}
	about := "no IP pool"
	for i, pool := range p.Pools {
		if i == 0 {
			about = fmt.Sprintf("%s, of which %s held", plural(len(p.Pools), "pool"), plural(len(pool.Blocks), "block"))
		}
		y = p.pool(c, pool, y) + margin
	}
	if len(p.Pools) == 0 {
		c.text(margin, y+20, "quiet", "there is no IP pool: no workload can get an address")
		y += 50
	}
	return c.end(w, y, "Blocks of "+p.Lab, about)
}

// pool draws a pool and returns where it ends.
func (p *Picture) pool(c *canvas, pool Pool, y float64) float64 {
	c.open("pool-"+pool.Name, "pool", fmt.Sprintf("pool %s %s", pool.Name, pool.CIDR))
	c.text(margin, y+14, "name", pool.Name)
	says := []string{fmt.Sprintf("blocks of /%d", pool.BlockSize), pool.Carried}
	if pool.NATOutgoing {
		says = append(says, "NAT to the outside")
	}
	if pool.Disabled {
		says = append(says, "disabled: nobody new gets an address")
	}
	c.text(margin+24+9*float64(len(pool.Name)), y+14, "mono", pool.CIDR.String()+"   "+strings.Join(says, ", "))
	y += 34
	bottom := y + poolMap(c, pool, margin, y)
	x0, w, h := margin+mapSide*mapCell+40, 184.0, blockCardHeight(pool)
	for i, b := range pool.Blocks {
		r := rect{x0 + float64(i%blockCols)*(w+12), y + float64(i/blockCols)*(h+12), w, h}
		p.block(c, b, r)
		bottom = max(bottom, r.y+r.h)
	}
	if len(pool.Blocks) == 0 {
		text := "no node holds a block: one takes its first with its first workload"
		if p.Planned {
			text = "nodes take blocks when workloads ask for addresses"
		}
		c.text(x0, y+14, "quiet", text)
	}
	c.shut()
	return bottom
}

// poolMap draws a cell for each block that a pool can be cut into, and returns how high it is.
func poolMap(c *canvas, pool Pool, x, y float64) float64 {
	n := 1 << max(0, pool.BlockSize-pool.CIDR.Bits())
	if n > mapMost || n < 1 {
		c.text(x, y+14, "quiet", fmt.Sprintf("%d blocks, too many for a map", n))
		return 24
	}
	rows := (n + mapSide - 1) / mapSide
	h := float64(rows) * mapCell
	var holes strings.Builder
	for i := range n {
		cell(&holes, x+float64(i%mapSide)*mapCell, y+float64(i/mapSide)*mapCell, mapCell-1.5)
	}
	c.path(holes.String(), "hole")
	for _, b := range pool.Blocks {
		i := distance(pool.CIDR, b.CIDR.Addr()) >> (32 - pool.BlockSize)
		if i >= uint32(n) {
			continue
		}
		c.open("", "block", fmt.Sprintf("%s, %s", b.CIDR, holder(b)))
		c.box(rect{x + float64(i%mapSide)*mapCell, y + float64(i/mapSide)*mapCell, mapCell - 1.5, mapCell - 1.5}, 1, "used")
		c.shut()
	}
	c.text(x, y+h+16, "label", fmt.Sprintf("%s of %d that the pool can be cut into", plural(len(pool.Blocks), "block"), n))
	return h + 20
}

// cell adds a square to a path.
func cell(b *strings.Builder, x, y, side float64) {
	fmt.Fprintf(b, "M%.1f %.1fh%.1fv%.1fh%.1fz", x, y, side, side, -side)
}

func holder(b Block) string {
	if b.Node == "" {
		return "nobody's"
	}
	return b.Node + "'s"
}

func blockCardHeight(pool Pool) float64 {
	size := 1 << (32 - pool.BlockSize)
	if size > cellMost {
		return 62
	}
	return 52 + 9*float64((size+15)/16)
}

// block draws a block with a cell for each of its addresses.
func (p *Picture) block(c *canvas, b Block, r rect) {
	title := fmt.Sprintf("block %s, %s; %d of %d addresses in use", b.CIDR, holder(b), len(b.Used), b.size())
	if b.Affinity != "" {
		title += "; affinity " + b.Affinity
	}
	c.open("block-"+b.CIDR.String(), "machine block", title)
	c.box(r, 8, "card")
	c.text(r.x+12, r.y+18, "mono", b.CIDR.String())
	c.text(r.x+12, r.y+35, "small strong", short(strings.TrimSuffix(holder(b), "'s"), 15))
	c.text(r.x+r.w-12, r.y+35, "tiny end", fmt.Sprintf("%d of %d in use", len(b.Used), b.size()))
	if b.size() > cellMost {
		c.bar(rect{r.x + 12, r.y + 46, r.w - 24, 5}, len(b.Used), b.size())
		c.shut()
		return
	}
	const side, columns = 10.0, 16
	var free, used strings.Builder
	inUse := map[netip.Addr]bool{}
	for _, a := range b.Used {
		inUse[a] = true
	}
	a := b.CIDR.Masked().Addr()
	for i := range b.size() {
		to := &free
		if inUse[a] {
			to = &used
		}
		cell(to, r.x+12+float64(i%columns)*side, r.y+43+float64(i/columns)*9, 7.5)
		a = a.Next()
	}
	if free.Len() > 0 {
		c.path(free.String(), "hole")
	}
	if used.Len() > 0 {
		c.path(used.String(), "used")
	}
	c.shut()
}

// distance is how far an address is into a prefix.
func distance(p netip.Prefix, a netip.Addr) uint32 {
	x, y := a.As4(), p.Masked().Addr().As4()
	n := func(b [4]byte) uint32 { return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]) }
	return n(x) - n(y)
}
