module phalanx.example/orders

go 1.23

require (
	github.com/bufbuild/protocompile v0.14.1
	google.golang.org/grpc v1.68.0
	google.golang.org/protobuf v1.35.2
)
