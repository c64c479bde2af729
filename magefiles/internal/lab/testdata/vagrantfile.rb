# Evaluates the Vagrantfile, without Vagrant, for each lab.yaml whose file name comes at standard input, and prints what it
# sets: as many lines as the first one says.
$stdout.sync = true
Sink = Class.new(BasicObject) { def method_missing(*) = nil }

# Recorder notes what is set in it.
class Recorder
  def initialize(lines, what) = (@lines, @what, @set = lines, what, {})
  attr_reader :set

  def vm = self
  def method_missing(name, *args, **options)
    key = name.to_s.chomp("=")
    case key
    when "define"
      @lines << "define=#{args[0].inspect}"
      yield Recorder.new(@lines, :machine)
    when "provider"
      r = Recorder.new(@lines, args[0])
      yield r
      s = r.set
      @lines << "prefix=#{s["default_prefix"].inspect}" if args[0] == :libvirt
      @lines << "#{args[0]}=#{[s["memory"].inspect, s["cpus"].inspect, s["name"]&.inspect].compact.join(",")}"
    when "network"
      @lines << "ip=#{options[:ip].inspect}" << "network=#{options[:libvirt__network_name].inspect}"
    when "box", "box_version", "hostname"
      @lines << "#{key}=#{args[0].inspect}"
    else
      @set[key] = args[0]
    end
  end
  def respond_to_missing?(*) = true
end

module Vagrant
  def self.configure(_) = yield(Recorder.new($lines, :all))
end

while (file = $stdin.gets&.chomp)
  $lines = []
  begin
    ENV["LAB_FILE"] = file
    load File.expand_path("../../../../Vagrantfile", __dir__)
  rescue StandardError, SyntaxError => e
    $lines << "#{e.class}: #{e.message.lines.first}".chomp
  end
  $stdout.puts $lines.size, $lines
end
