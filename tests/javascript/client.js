// Two readers, each with what its card answers to the hello example, by @pokusew/pcsclite.
const pcsc = require("@pokusew/pcsclite")();

const SELECT = Buffer.from("00A404000AA00000006203010C0601", "hex");
const lines = [];

function done(line) {
  lines.push(line);
  if (lines.length === 2) {
    console.log(lines.sort().join("\n"));
    // Not pcsc.close(): it cancels waits, and the stock library loses a cancel that comes before the wait has begun.
    process.exit(0);
  }
}

function fail(error) {
  console.log(String(error));
  process.exit(1);
}

// Calls one of the reader's functions and waits for its result.
function call(reader, name, ...values) {
  return new Promise((resolve, reject) => {
    reader[name](...values, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

async function hello(reader, atr) {
  const protocol = await call(reader, "connect", { share_mode: reader.SCARD_SHARE_SHARED });
  const selected = await call(reader, "transmit", SELECT, 258, protocol);
  const text = await call(reader, "transmit", Buffer.from("00000000", "hex"), 258, protocol);
  await call(reader, "disconnect", reader.SCARD_LEAVE_CARD);
  return [atr.toString("hex"), protocol, selected.toString("hex"), text.toString()].join(" ");
}

pcsc.on("error", fail);
pcsc.on("reader", (reader) => {
  let isSeen = false;
  reader.on("error", fail);
  reader.on("status", (status) => {
    if (isSeen || !(status.state & (reader.SCARD_STATE_PRESENT | reader.SCARD_STATE_EMPTY))) {
      return;
    }
    isSeen = true;
    if (status.state & reader.SCARD_STATE_EMPTY) {
      done(`${reader.name}: empty`);
    } else {
      hello(reader, status.atr)
        .then((text) => done(`${reader.name}: ${text}`))
        .catch(fail);
    }
  });
});
