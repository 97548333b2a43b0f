package config
import ("testing";"os";"fmt";"strings";"time";"path/filepath")
func TestZZ(t *testing.T){
 var b strings.Builder
 b.WriteString("nodes: {a: 10.0.0.1, b: 10.0.0.2, c: 10.0.0.3}\nchecks: {x: {type: command, command: /bin/true}}\ndefaults: {virtual_router: {track: {x: -20}, notify: {any: /bin/x $master}}}\nvirtual_routers:\n")
 for i:=range 4096 { fmt.Fprintf(&b,"  r%d: {interface: eth%d, vrid: %d, prefer: a, addresses: [172.%d.%d.1/24]}\n", i,i/200,1+i%200,i/200,i%200)}
 p:=filepath.Join(t.TempDir(),"x.yaml"); os.WriteFile(p,[]byte(b.String()),0o644)
 s:=time.Now(); r:=Validate(p); fmt.Println(time.Since(s), len(r.Diagnostics)); 
 os.WriteFile(p,[]byte(b.String()+"  x: [\n"),0o644)
 s=time.Now(); r=Validate(p); fmt.Println(time.Since(s), r.Diagnostics[0].Line, r.Diagnostics[0].Message)
 n:="nodes: {"; for i:=range 254 { n+=fmt.Sprintf("n%d: 10.0.1.%d, ",i,i+1)}; n+="}\n"
 os.WriteFile(p,[]byte(n+strings.SplitN(strings.ReplaceAll(b.String(),"prefer: a","priority: 5"),"\n",2)[1][:20000]+"}"),0o644)
 s=time.Now(); r=Validate(p); fmt.Println(time.Since(s), len(r.Diagnostics)); r.WriteTo(os.Stdout)
}
