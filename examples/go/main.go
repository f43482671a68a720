// Orders sends, receives and acknowledges orders through Phalanx, with nothing but the proto files: they are compiled as
// it starts, by a compiler in Go, so that neither protoc nor generated code is needed.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	queue    = "go-orders"
	count    = 50
	deadline = 5 * time.Second
	// A leader change takes well under a second; this many tries with this pause cover a slow machine many times over.
	tries = 60
	pause = 500 * time.Millisecond
)

// object is a message as protojson writes it: lowerCamelCase names, 64-bit numbers as text, bytes as base64.
type object map[string]any

// cluster calls any node; on a failure that a retry can mend, the same request goes to the next one.
type cluster struct {
	methods map[string]protoreflect.MethodDescriptor
	nodes   []*grpc.ClientConn
	turn    int
	retries int
}

func newCluster(servers []string, proto string) (*cluster, error) {
	resolver := &protocompile.SourceResolver{ImportPaths: []string{proto}}
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(resolver)}
	files, err := compiler.Compile(context.Background(), "phalanx/v1/messages.proto", "phalanx/v1/admin.proto")
	if err != nil {
		return nil, err
	}
	c := &cluster{methods: map[string]protoreflect.MethodDescriptor{}}
	for _, file := range files {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				c.methods[fmt.Sprintf("/%s/%s", service.FullName(), method.Name())] = method
			}
		}
	}
	for _, server := range servers {
		node, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, node)
	}
	return c, nil
}

// call makes a call of phalanx.v1, such as "Messages/Send", and fills answer.
func (c *cluster) call(name string, request object, answer any) error {
	path := "/phalanx.v1." + name
	method := c.methods[path]
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	in := dynamicpb.NewMessage(method.Input())
	if err := protojson.Unmarshal(text, in); err != nil {
		return err
	}
	for range tries {
		out := dynamicpb.NewMessage(method.Output())
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		err = c.nodes[c.turn%len(c.nodes)].Invoke(ctx, path, in, out)
		cancel()
		switch status.Code(err) {
		case codes.OK:
			text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(out)
			if err != nil {
				return err
			}
			return json.Unmarshal(text, answer)
		case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied:
			return err
		}
		c.retries++
		c.turn++
		time.Sleep(pause)
	}
	return fmt.Errorf("%s: no node answered: %w", name, err)
}

type sent struct {
	FirstSequence string
	Repeated      bool
}

type received struct {
	Deliveries []struct {
		Token   string
		Message struct{ Body []byte }
	}
}

type settled struct {
	Outcomes []struct{ Result string }
}

type info struct {
	Ready, Leased, LeaderNode string
}

func randomID() string {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		panic(err) // the system has no randomness
	}
	return base64.StdEncoding.EncodeToString(id)
}

// killLeader is kill -9 of the process that leads the queue's shard.
func killLeader(node, data string) error {
	text, err := os.ReadFile(filepath.Join(data, "node-"+node, "pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	fmt.Printf("kill node %s, which leads the queue\n", node)
	return syscall.Kill(pid, syscall.SIGKILL)
}

func send(c *cluster, data string) error {
	for number := range count {
		body := base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("order %d", number)))
		order := object{"body": body, "group": base64.StdEncoding.EncodeToString([]byte("customer-7"))}
		// One send is one send, however often it is tried: the request id says so.
		request := object{"queue": queue, "messages": []object{order}, "requestId": randomID()}
		kill := data != "" && number == count/2
		killed := make(chan error, 1)
		if kill {
			var before info
			if err := c.call("Queues/GetQueue", object{"name": queue}, &before); err != nil {
				return err
			}
			go func() { killed <- killLeader(before.LeaderNode, data) }()
		}
		var answer, again sent
		if err := c.call("Messages/Send", request, &answer); err != nil {
			return err
		}
		if !kill {
			continue
		}
		if err := <-killed; err != nil {
			return err
		}
		// Say it again after the crash: the answer must be that of the first time.
		if err := c.call("Messages/Send", request, &again); err != nil {
			return err
		}
		if !again.Repeated || again.FirstSequence != answer.FirstSequence {
			return fmt.Errorf("sent twice: %+v and %+v", answer, again)
		}
		fmt.Printf("sent order %d twice under one request id: sequence %s both times\n", number, again.FirstSequence)
	}
	return nil
}

func receive(c *cluster) error {
	consumer := randomID()
	for number := 0; number < count; {
		request := object{"queue": queue, "consumerId": consumer, "requestId": randomID(), "maxMessages": 10, "waitMs": "2000"}
		var got received
		if err := c.call("Messages/Receive", request, &got); err != nil {
			return err
		}
		if len(got.Deliveries) == 0 {
			return fmt.Errorf("only %d of %d orders came", number, count)
		}
		tokens := []object{}
		for _, delivery := range got.Deliveries {
			if body := string(delivery.Message.Body); body != fmt.Sprintf("order %d", number) {
				return fmt.Errorf("%s came in place of order %d", body, number)
			}
			tokens = append(tokens, object{"first": delivery.Token, "last": delivery.Token})
			number++
		}
		items := []object{{"action": "SETTLE_ACTION_ACK", "tokens": tokens}}
		var answer settled
		if err := c.call("Messages/Settle", object{"queue": queue, "consumerId": consumer, "items": items}, &answer); err != nil {
			return err
		}
		for _, outcome := range answer.Outcomes {
			if outcome.Result != "SETTLE_RESULT_ACKED" {
				return fmt.Errorf("not acknowledged: %+v", answer)
			}
		}
	}
	return nil
}

func run(servers, proto, data string) error {
	c, err := newCluster(strings.Split(servers, ","), proto)
	if err != nil {
		return err
	}
	var ignored object
	for _, call := range []string{"Queues/CreateQueue", "Queues/PurgeQueue"} {
		if err := c.call(call, object{"name": queue}, &ignored); err != nil {
			return err
		}
	}
	if err := send(c, data); err != nil {
		return err
	}
	if err := receive(c); err != nil {
		return err
	}
	var after info
	if err := c.call("Queues/GetQueue", object{"name": queue}, &after); err != nil {
		return err
	}
	if after.Ready != "0" || after.Leased != "0" {
		return fmt.Errorf("left in the queue: %+v", after)
	}
	fmt.Printf("%d orders sent, received in order and acknowledged; %d calls were repeated; queue empty\n", count, c.retries)
	return nil
}

func main() {
	servers := flag.String("servers", "127.0.0.1:7420,127.0.0.1:7421,127.0.0.1:7422", "nodes")
	proto := flag.String("proto", "../../proto", "directory of the proto files")
	data := flag.String("kill-leader", "", "data directory of a `phalanx dev` cluster")
	flag.Parse()
	if err := run(*servers, *proto, *data); err != nil {
		log.Fatal(err)
	}
}
