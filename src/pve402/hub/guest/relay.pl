# Carries connections to the guest's own loopback over stdin and stdout, in frames: type, 4 bytes
# connection, 2 bytes length, data; numbers with the most significant byte first.
#   O port   open; answered by O, or by C with the reason
#   D data   at most what the other side has given credit for, 64 KiB at first
#   W bytes  more credit
#   E        nothing more comes from this side
#   C        closed, with whatever was on its way
#   P        keeps an idle stream open
use strict;
use Errno qw(EAGAIN EINTR EINPROGRESS);
use Fcntl;
use Socket;
my ($W, $MOST, $in, $out, %c) = (65536, 256, "", "");
$SIG{PIPE} = 'IGNORE';
binmode STDIN;
binmode STDOUT;
# Everything of one turn goes out at once: each piece of output has a delay of its own.
sub out { $out .= pack('aNn', $_[0], $_[1], length $_[2]) . $_[2] }
sub flush {
  while (length $out) {
    my $n = syswrite STDOUT, $out;
    if (defined $n) { substr($out, 0, $n) = '' } elsif (!$!{EINTR}) { exit 0 }
  }
}
sub gone { my ($i, $why) = @_; out('C', $i, $why) if delete $c{$i} }
sub dial {
  my ($c, $v6) = @_;
  socket(my $s, $v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0) or return 0;
  fcntl $s, F_SETFL, fcntl($s, F_GETFL, 0) | O_NONBLOCK;
  my $to = $v6 ? pack_sockaddr_in6($c->{port}, Socket::inet_pton(AF_INET6, '::1'))
    : pack_sockaddr_in($c->{port}, INADDR_LOOPBACK);
  return 0 unless connect($s, $to) || $!{EINPROGRESS};
  @$c{'s', 'v6', 'wait'} = ($s, $v6, 1);
  return 1;
}
sub opened {
  my ($i, $c) = @_;
  my $e = unpack 'i', getsockopt $c->{s}, SOL_SOCKET, SO_ERROR;
  $c->{wait} = 0;
  if (!$e) { out('O', $i, '') }
  elsif ($c->{v6} || !dial($c, 1)) { $! = $e; gone($i, "$!") }
}
sub frame {
  my ($t, $i, $d) = @_;
  my $c = $c{$i};
  if ($t eq 'O') {
    return out('C', $i, 'too many connections') if $c || keys %c >= $MOST;
    $c{$i} = $c = { port => unpack('n', $d), out => '', credit => $W, read => 0, got => 0 };
    gone($i, "$!") unless dial($c, 0) || dial($c, 1);
  }
  elsif (!$c) { }
  elsif ($t eq 'D') { $c->{out} .= $d; gone($i, 'too much data') if length $c->{out} > $W }
  elsif ($t eq 'W') { $c->{credit} += unpack 'N', $d }
  elsif ($t eq 'E') { $c->{end} = 1 }
  elsif ($t eq 'C') { delete $c{$i} }
}
sub take {
  my ($i, $c) = @_;
  while ($c->{credit} > 0) {
    my $n = sysread $c->{s}, my $b, $c->{credit} < 32768 ? $c->{credit} : 32768;
    if (!defined $n) { gone($i, "$!") unless $!{EAGAIN} || $!{EINTR}; return }
    if (!$n) { $c->{read} = 1; return out('E', $i, '') }
    $c->{credit} -= $n;
    out('D', $i, $b);
  }
}
sub give {
  my ($i, $c) = @_;
  if (length $c->{out}) {
    my $n = syswrite $c->{s}, $c->{out};
    if (!defined $n) { gone($i, "$!") unless $!{EAGAIN} || $!{EINTR}; return }
    substr($c->{out}, 0, $n) = '';
    $c->{got} += $n;
    if ($c->{got} >= $W / 2) { out('W', $i, pack 'N', $c->{got}); $c->{got} = 0 }
  }
  if ($c->{end} && !length $c->{out}) { shutdown $c->{s}, 1; $c->{end} = 0; $c->{sent} = 1 }
}
while (1) {
  flush();
  my ($r, $w) = ('', '');
  vec($r, 0, 1) = 1;
  for my $c (values %c) {
    my $f = fileno $c->{s};
    if ($c->{wait}) { vec($w, $f, 1) = 1; next }
    vec($r, $f, 1) = 1 if $c->{credit} > 0 && !$c->{read};
    vec($w, $f, 1) = 1 if length $c->{out} || $c->{end};
  }
  select($r, $w, undef, undef) < 0 and next;
  for my $i (keys %c) {
    my $c = $c{$i} or next;
    my $f = fileno $c->{s};
    if ($c->{wait}) { opened($i, $c) if vec($w, $f, 1); next }
    take($i, $c) if vec($r, $f, 1);
    give($i, $c) if $c{$i} && vec($w, $f, 1);
    gone($i, '') if $c{$i} && $c->{read} && $c->{sent};
  }
  next unless vec($r, 0, 1);
  my $n = sysread STDIN, $in, 65536, length $in;
  exit 0 if defined $n && !$n;
  while (length $in >= 7) {
    my ($t, $i, $l) = unpack 'aNn', $in;
    last if length $in < 7 + $l;
    frame($t, $i, substr $in, 7, $l);
    substr($in, 0, 7 + $l) = '';
  }
}
