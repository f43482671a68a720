// Sends, receives and acknowledges orders through Phalanx, with nothing but the proto files: they are loaded as it
// starts, nothing is generated.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const QUEUE = "typescript-orders";
const COUNT = 50;
const DEADLINE_MS = 5_000;
// A leader change takes well under a second; this many tries with this pause cover a slow machine many times over.
const TRIES = 60;
const PAUSE_MS = 500;
// Trying again does not help after these.
const FINAL = [grpc.status.INVALID_ARGUMENT, grpc.status.NOT_FOUND, grpc.status.PERMISSION_DENIED];

interface Delivery {
  token: string;
  sequence: string;
  message: { body: Buffer };
}
interface Answers {
  CreateQueue: { name: string };
  PurgeQueue: { removed: string };
  GetQueue: { ready: string; leased: string; leaderNode: string };
  Send: { firstSequence: string; repeated: boolean };
  Receive: { deliveries: Delivery[] };
  Settle: { outcomes: { result: string }[] };
}
type Method = keyof Answers;
type Service = "Messages" | "Queues";
type Stubs = Record<Service, grpc.Client>;

const { values: options } = parseArgs({
  options: {
    servers: { type: "string", default: "127.0.0.1:7420,127.0.0.1:7421,127.0.0.1:7422" },
    proto: { type: "string", default: resolve(__dirname, "../../../proto") },
    "kill-leader": { type: "string" },
  },
});

/** Calls any node; on a failure that a retry can mend, the same request goes to the next one. */
class Cluster {
  private readonly nodes: Stubs[];
  private turn = 0;
  retries = 0;

  constructor(servers: string[], proto: string) {
    const files = ["phalanx/v1/messages.proto", "phalanx/v1/admin.proto"];
    const loaded = loadSync(files, { includeDirs: [proto], longs: String, enums: String, defaults: true });
    const v1 = (grpc.loadPackageDefinition(loaded) as any).phalanx.v1;
    const plain = grpc.credentials.createInsecure();
    this.nodes = servers.map((server) => ({ Messages: new v1.Messages(server, plain), Queues: new v1.Queues(server, plain) }));
  }

  async call<M extends Method>(service: Service, method: M, request: object): Promise<Answers[M]> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      try {
        return await this.once(this.nodes[this.turn % this.nodes.length], service, method, request);
      } catch (error) {
        if (FINAL.includes((error as grpc.ServiceError).code)) throw error;
        this.retries++;
        this.turn++;
        await sleep(PAUSE_MS);
      }
    }
    throw new Error(`${method}: no node answered`);
  }

  private once<M extends Method>(node: Stubs, service: Service, method: M, request: object): Promise<Answers[M]> {
    return new Promise((answered, failed) => {
      const done = (error: grpc.ServiceError | null, answer: Answers[M]) => (error ? failed(error) : answered(answer));
      (node[service] as any)[method](request, { deadline: Date.now() + DEADLINE_MS }, done);
    });
  }

  close(): void {
    for (const node of this.nodes) for (const stub of Object.values(node)) stub.close();
  }
}

/** `kill -9` of the process that leads the queue's shard. */
async function killLeader(cluster: Cluster, data: string): Promise<void> {
  const { leaderNode } = await cluster.call("Queues", "GetQueue", { name: QUEUE });
  process.kill(Number(readFileSync(join(data, `node-${leaderNode}`, "pid"), "utf8")), "SIGKILL");
  console.log(`killed node ${leaderNode}, which led the queue`);
}

async function send(cluster: Cluster): Promise<void> {
  const data = options["kill-leader"];
  for (let number = 0; number < COUNT; number++) {
    // One send is one send, however often it is tried: the request id says so.
    const order = { body: Buffer.from(`order ${number}`), group: Buffer.from("customer-7"), contentType: "text/plain" };
    const request = { queue: QUEUE, messages: [order], requestId: randomBytes(16) };
    const kill = data !== undefined && number === COUNT / 2;
    const [answer] = await Promise.all([cluster.call("Messages", "Send", request), kill && killLeader(cluster, data)]);
    if (!kill) continue;
    // Say it again after the crash: the answer must be that of the first time.
    const again = await cluster.call("Messages", "Send", request);
    check(again.repeated && again.firstSequence === answer.firstSequence, again);
    console.log(`sent order ${number} twice under one request id: sequence ${again.firstSequence} both times`);
  }
}

async function receive(cluster: Cluster): Promise<string[]> {
  const consumerId = randomBytes(16);
  const bodies: string[] = [];
  while (bodies.length < COUNT) {
    const request = { queue: QUEUE, consumerId, requestId: randomBytes(16), maxMessages: 10, waitMs: 2_000 };
    const { deliveries } = await cluster.call("Messages", "Receive", request);
    check(deliveries.length > 0, `only ${bodies.length} of ${COUNT} orders came`);
    bodies.push(...deliveries.map((delivery) => delivery.message.body.toString()));
    const tokens = deliveries.map(({ token }) => ({ first: token, last: token }));
    const items = [{ action: "SETTLE_ACTION_ACK", tokens }];
    const { outcomes } = await cluster.call("Messages", "Settle", { queue: QUEUE, consumerId, items });
    check(outcomes.every(({ result }) => result === "SETTLE_RESULT_ACKED"), outcomes);
  }
  return bodies;
}

function check(holds: boolean, seen: unknown): void {
  if (!holds) throw new Error(`not as promised: ${JSON.stringify(seen)}`);
}

async function main(): Promise<void> {
  const cluster = new Cluster(options.servers.split(","), options.proto);
  await cluster.call("Queues", "CreateQueue", { name: QUEUE });
  await cluster.call("Queues", "PurgeQueue", { name: QUEUE });
  await send(cluster);
  const bodies = await receive(cluster);
  check(bodies.every((body, number) => body === `order ${number}`), bodies);
  const { ready, leased } = await cluster.call("Queues", "GetQueue", { name: QUEUE });
  check(ready === "0" && leased === "0", { ready, leased });
  console.log(`${COUNT} orders sent, received in order and acknowledged; ${cluster.retries} calls were repeated; queue empty`);
  cluster.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
