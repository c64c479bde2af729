# In the box for libvirt: nothing that the project's Vagrantfile doesn't say.
Vagrant.configure("2") do |config|
  config.vm.synced_folder ".", "/vagrant", disabled: true
end
