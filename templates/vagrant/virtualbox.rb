# In the box for VirtualBox: what its kernel has drivers for.
Vagrant.configure("2") do |config|
  config.vm.base_mac = "080027CA11C0"
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.vm.provider :virtualbox do |vb|
    vb.default_nic_type = "virtio"
    vb.check_guest_additions = false
  end
end
