package box

import (
	"archive/tar"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/calico-cni-lab/lab/templates"
)

type entry struct {
	mode    os.FileMode
	owner   int
	content string
}

func entries(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		all[hdr.Name] = entry{hdr.FileInfo().Mode(), hdr.Uid, string(data)}
	}
}

func TestBoxFiles(t *testing.T) {
	data, err := filesOf("box")
	if err != nil {
		t.Fatal(err)
	}
	got := entries(t, bytes.NewReader(data))
	for name, mode := range map[string]os.FileMode{
		"etc/systemd/system/lab-ssh.socket": 0o644,
		"usr/local/lib/lab/cgroups-rw":      0o755, // what is embedded in a program has lost its mode
	} {
		if e, ok := got[name]; !ok || e.mode.Perm() != mode || e.owner != 0 {
			t.Errorf("%s: %v", name, e.mode)
		}
	}
}

// TestOVF: VirtualBox can't be run here; what its file says has to fit together at least.
func TestOVF(t *testing.T) {
	data, err := fs.ReadFile(templates.FS, "vagrant/box.ovf")
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		XMLName xml.Name `xml:"http://schemas.dmtf.org/ovf/envelope/1 Envelope"`
		Files   []struct {
			ID   string `xml:"id,attr"`
			Href string `xml:"href,attr"`
		} `xml:"References>File"`
		Disks []struct {
			ID       string `xml:"diskId,attr"`
			File     string `xml:"fileRef,attr"`
			Capacity string `xml:"capacity,attr"`
		} `xml:"DiskSection>Disk"`
		Networks []struct {
			Name string `xml:"name,attr"`
		} `xml:"NetworkSection>Network"`
		Items []struct {
			ID         int    `xml:"InstanceID"`
			Type       int    `xml:"ResourceType"`
			Parent     int    `xml:"Parent"`
			Host       string `xml:"HostResource"`
			Connection string `xml:"Connection"`
		} `xml:"VirtualSystem>VirtualHardwareSection>Item"`
	}
	if err := xml.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Files) != 1 || e.Files[0].Href != vmdk || len(e.Disks) != 1 || e.Disks[0].File != e.Files[0].ID || e.Disks[0].Capacity != sizeMark {
		t.Errorf("files and disks don't fit: %+v %+v", e.Files, e.Disks)
	}
	const ide, network, disk = 5, 10, 17 // CIM_ResourceAllocationSettingData.ResourceType
	ids, seen := map[int]int{}, map[int]int{}
	for _, item := range e.Items {
		if ids[item.ID] != 0 {
			t.Errorf("instance %d is there twice", item.ID)
		}
		ids[item.ID] = item.Type
		seen[item.Type]++
		if item.Type == disk && (item.Host != "/disk/"+e.Disks[0].ID || ids[item.Parent] != ide) {
			t.Errorf("disk: %+v", item)
		}
		if item.Type == network && (len(e.Networks) != 1 || item.Connection != e.Networks[0].Name) {
			t.Errorf("network: %+v", item)
		}
	}
	if seen[ide] != 1 || seen[network] != 1 || seen[disk] != 1 {
		t.Errorf("items: %v", seen)
	}
}
