package fact

import (
	"net/netip"
	"slices"
	"time"
)

// Request is what the look program reads at its standard input.
type Request struct {
	Files  []string `json:"files,omitempty"`  // paths to look at; "~/" is the login user's home
	GoTree bool     `json:"goTree,omitempty"` // whether to count /usr/local/go
	Etcd   *Etcd    `json:"etcd,omitempty"`   // how it is asked, for its health and for Calico's part of it; nil: it isn't
	Dirs   []string `json:"dirs,omitempty"`   // directories whose files are looked at, too
	BIRD   string   `json:"bird,omitempty"`   // BIRD's control socket; "" is that of calico-node's
	Ports  []uint16 `json:"ports,omitempty"`  // the lab's TCP ports where others may listen on them: who does, and what rivals there are; none: don't look
	Dial   *Dial    `json:"dial,omitempty"`   // what the machine has to reach over TCP; nil: nobody asks
	Until  *Until   `json:"until,omitempty"`  // what to wait for first
	Alone  *Alone   `json:"alone,omitempty"`  // what to end first; nil: nothing
	Deep   bool     `json:"deep,omitempty"`   // whether to look at what a baseline and explanations need
	Texts  []string `json:"texts,omitempty"`  // files and directories whose contents a deep look has, too
	Slow   int      `json:"slow,omitempty"`   // how much longer than usual an answer may take; 0 is 1
}

// Alone is for a look of a run that changes the lab, as one at a time may: commands that another one left at work on the machine when it was
// killed are ended first.
type Alone struct {
	Of  string `json:"of"`  // with what the marks of commands of such runs begin
	But string `json:"but"` // and those of the run itself
}

// Etcd is how etcd is asked: where it answers clients, and the directories on the machine that have the certificates (ca.crt, tls.crt,
// tls.key) to come with.
type Etcd struct {
	URL    string   `json:"url"`              // of the member on the machine itself
	Others []string `json:"others,omitempty"` // of the other members, who are asked for what the datastore has where that one doesn't answer
	Health string   `json:"health"`           // of who asks for its health
	Admin  string   `json:"admin"`            // of who may do everything
}

// Dial are addresses of etcd's, and the directory with the certificate that is shown there, so that etcd doesn't take it for an attack.
type Dial struct {
	To          []netip.AddrPort `json:"to"`
	Certificate string           `json:"certificate"`
}

// URLs are where all members answer, the machine's own first.
func (e *Etcd) URLs() []string { return append([]string{e.URL}, e.Others...) }

// Order is what `look etcd` reads at its standard input: what is to be done to etcd, as its administrator.
type Order struct {
	Etcd
	Ops  []Op  `json:"ops,omitempty"`  // in one transaction
	Auth *Auth `json:"auth,omitempty"` // these users and roles, as they are here, beside those of others
	// Within is how long etcd may take: until a member is healthy, and until a new one has all the data.
	Within time.Duration `json:"within,omitempty"`
	// Own says that it is the machine's own member that has to be healthy.
	Own bool `json:"own,omitempty"`
	// Admit is the peer URL of a member without data that is to be one of the cluster's, as a learner; another one's that had it is
	// removed. Promote is that of a learner that is to vote. Remove are those of members that are to be none.
	Admit   string   `json:"admit,omitempty"`
	Promote string   `json:"promote,omitempty"`
	Remove  []string `json:"remove,omitempty"`
	// Members asks which members there are then.
	Members bool `json:"members,omitempty"`
}

// Ordered is what `look etcd` answers.
type Ordered struct {
	Members []Member `json:"members,omitempty"` // where they were asked for
}

// Snapshot is what `look snapshot` answers: etcd's database, and its SHA-256 behind it.
type Snapshot struct {
	Data []byte `json:"data"`
}

// Op is a change of one entry.
type Op struct {
	KeyValue
	Delete bool `json:"delete,omitempty"`
}

// Until is what has to be true before the look is taken. The program asks on the machine itself, a few times a second, so
// that waiting costs neither sessions nor connections. It looks all the same when time is over.
type Until struct {
	Within time.Duration `json:"within"`
	Docker bool          `json:"docker,omitempty"` // Docker Engine answers
	Etcd   bool          `json:"etcd,omitempty"`   // etcd is healthy
	Felix  bool          `json:"felix,omitempty"`  // Felix is ready
	Peers  []netip.Addr  `json:"peers,omitempty"`  // BGP is Established with each
	Routes []Via         `json:"routes,omitempty"` // BIRD has programmed each
}

// Via is a route to a block via the node that has it.
type Via struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via"`
	// By is who has made it, "" stands for Felix, who makes those over VXLAN.
	By  string `json:"by,omitempty"`
	Dev string `json:"dev,omitempty"` // the interface that it leads through, "" is any
}

// Is says whether a route of the kernel's is this one.
func (v Via) Is(r Route) bool {
	return r.To == v.To && r.Via == v.Via && (r.Protocol == BIRDProtocol) == (v.By == BIRDProtocol) && (v.Dev == "" || v.Dev == r.Dev)
}

// String is the route as far as it matters, as `ip route` writes it.
func (v Via) String() string {
	text := v.To.String() + " via " + v.Via.String()
	if v.Dev != "" {
		text += " dev " + v.Dev
	}
	return text
}

// BIRDProtocol is what the kernel calls routes that BIRD programmed.
const BIRDProtocol = "bird"

// VXLANLink is Felix' interface.
const VXLANLink = "vxlan.calico"

// ProbeRequest is what `look probe` reads at its standard input.
type ProbeRequest struct {
	To     []netip.Addr  `json:"to"`
	From   []Sender      `json:"from,omitempty"` // none: the network namespace that the program runs in
	Most   Most          `json:"most,omitzero"`
	Port   uint16        `json:"port"`
	Within time.Duration `json:"within"`
}

// Sender is a network namespace that packets are sent from, and its address. That of To is no target of its own.
type Sender struct {
	Sandbox string     `json:"sandbox"`
	Address netip.Addr `json:"address"`
}

// Most is how many targets a sender tries at most, by ping and by TCP: those that follow it in To, round and round. 0 is all.
type Most struct {
	Ping int `json:"ping"`
	TCP  int `json:"tcp"`
}

// Targets are whom a sender tries, those by TCP before the others.
func (r ProbeRequest) Targets(from netip.Addr) (all []netip.Addr, tcp int) {
	at := slices.Index(r.To, from)
	all = slices.DeleteFunc(slices.Concat(r.To[at+1:], r.To[:at+1]), func(a netip.Addr) bool { return a == from })
	if r.Most.Ping > 0 && len(all) > r.Most.Ping {
		all = all[:r.Most.Ping]
	}
	if r.Most.TCP > 0 && len(all) > r.Most.TCP {
		return all, r.Most.TCP
	}
	return all, len(all)
}

// Home on a machine is where the lab keeps what it needs to look and to undo.
const Home = "/var/lib/calico-cni-lab"

// Journal on a machine is the lab's journal of what it touched there, see scripts/note-original.sh.
const Journal = Home + "/journal"

// SumsFile on a machine keeps the SHA-256 of files by their state, so that each state of a file is read once.
const SumsFile = Home + "/sums"

// TreeFile on a machine keeps how many files each directory of Go's tree has, by the directory's state.
const TreeFile = Home + "/go-tree"

// MarkFile on a machine that existed before the lab has the mark of the lab that it belongs to.
const MarkFile = Home + "/mark"
