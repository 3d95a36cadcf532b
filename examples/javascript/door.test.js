// A program in Node.js with its virtual card and its tests, for node:test: see docs/testing.md.
// The card connects to the reader of PCSCLITE_SIMULATED=vpcd:35963.
const assert = require("node:assert");
const net = require("node:net");
const { test } = require("node:test");
const pcsclite = require("@pokusew/pcsclite");

// The program under test: opens a door for a badge and its PIN. Returns the name of the badge's holder.
function openDoor(pin) {
  return new Promise((resolve, reject) => {
    const pcsc = pcsclite();
    const readers = [];
    const end = (settle, value) => {
      readers.forEach((reader) => reader.close());
      pcsc.close();
      settle(value);
    };
    pcsc.on("error", (error) => end(reject, error));
    pcsc.on("reader", (reader) => {
      const call = (name, ...values) =>
        new Promise((done, failed) => {
          reader[name](...values, (error, result) => (error ? failed(error) : done(result)));
        });
      const transmit = async (protocol, ...command) => {
        const response = await call("transmit", Buffer.from(command), 258, protocol);
        return [response.subarray(0, -2), response.readUInt16BE(response.length - 2)];
      };
      const ask = async () => {
        const protocol = await call("connect", { share_mode: reader.SCARD_SHARE_SHARED });
        let [, status] = await transmit(protocol, 0x00, 0xa4, 0x04, 0x00, 6, 0xf0, ...Buffer.from("BADGE"));
        if (status !== 0x9000) throw new Error("not a badge");
        [, status] = await transmit(protocol, 0x00, 0x20, 0x00, 0x81, pin.length, ...Buffer.from(pin));
        if (status !== 0x9000) throw new Error(`wrong PIN, ${status & 0x0f} tries left`);
        const [name] = await transmit(protocol, 0x00, 0xb0, 0x00, 0x00, 0x00);
        await call("disconnect", reader.SCARD_RESET_CARD);
        return name.toString();
      };
      let isAsked = false;
      readers.push(reader);
      reader.on("error", (error) => end(reject, error));
      reader.on("status", ({ state }) => {
        if (!isAsked && state & reader.SCARD_STATE_PRESENT) {
          isAsked = true;
          ask().then(
            (name) => end(resolve, name),
            (error) => end(reject, error),
          );
        }
      });
    });
  });
}

// Inserts a card: `answer` has the response APDU to a command APDU, or null to be pulled out. Returns a function that
// removes it.
function insert(answer) {
  let socket;
  let isRemoved = false;
  const remove = () => {
    isRemoved = true;
    socket.destroy();
  };
  const connect = () => {
    let received = Buffer.alloc(0);
    socket = net.connect(35963, "127.0.0.1");
    // The program opens the port with its first context.
    socket.on("error", () => isRemoved || setTimeout(connect, 2));
    socket.on("data", (data) => {
      received = Buffer.concat([received, data]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE()) {
        const message = received.subarray(2, 2 + received.readUInt16BE());
        received = received.subarray(2 + message.length);
        // Power off, power on and reset have no answer; T=1 at 372/1 (ISO/IEC 7816-3, clause 8).
        if (message.length === 1 && message[0] !== 4) continue;
        const response = message.length === 1 ? Buffer.from("3B800181", "hex") : answer(message);
        if (response === null) return remove();
        const length = Buffer.alloc(2);
        length.writeUInt16BE(response.length);
        socket.write(Buffer.concat([length, response]));
      }
    });
  };
  connect();
  return remove;
}

function badge(removedBy) {
  let tries = 3;
  return (command) => {
    switch (command[1]) {
      case removedBy:
        return null;
      case 0xa4:
        return Buffer.from(command.includes("BADGE") ? [0x90, 0x00] : [0x6a, 0x82]);
      case 0x20:
        return Buffer.from(command.subarray(5).equals(Buffer.from("1234")) ? [0x90, 0x00] : [0x63, 0xc0 | --tries]);
      case 0xb0:
        return Buffer.from("Ada Lovelace\x90\x00", "latin1");
      default:
        return Buffer.from([0x6d, 0x00]);
    }
  };
}

test("the door opens for a badge and its PIN", async () => {
  const remove = insert(badge());
  assert.strictEqual(await openDoor("1234"), "Ada Lovelace");
  remove();
});

test("it stays closed after a wrong PIN", async () => {
  const remove = insert(badge());
  await assert.rejects(openDoor("0000"), /2 tries left/);
  remove();
});

test("it stays closed if the badge is removed in the middle of a command", async () => {
  for (const command of [0xa4, 0x20, 0xb0]) {
    insert(badge(command));
    await assert.rejects(openDoor("1234"), /SCardTransmit/);
  }
});
