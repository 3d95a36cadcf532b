import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.ConnectException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.function.UnaryOperator;
import javax.smartcardio.Card;
import javax.smartcardio.CardChannel;
import javax.smartcardio.CardException;
import javax.smartcardio.CommandAPDU;
import javax.smartcardio.ResponseAPDU;
import javax.smartcardio.TerminalFactory;

/**
 * A program in Java with its virtual card and its tests: see docs/testing.md. The card connects to the reader of
 * PCSCLITE_SIMULATED=vpcd:35963. A test framework would call the methods of Tests.
 */
public class Door {
    private static final byte[] AID = {(byte) 0xF0, 'B', 'A', 'D', 'G', 'E'};

    /** The program under test: opens a door for a badge and its PIN. Returns the name of the badge's holder. */
    static String open(String pin) throws Exception {
        Card card = TerminalFactory.getInstance("PC/SC", null).terminals().list().get(0).connect("*");
        try {
            CardChannel channel = card.getBasicChannel();
            if (channel.transmit(new CommandAPDU(0x00, 0xA4, 0x04, 0x00, AID)).getSW() != 0x9000) {
                return "not a badge";
            }
            byte[] digits = pin.getBytes(StandardCharsets.US_ASCII);
            ResponseAPDU verified = channel.transmit(new CommandAPDU(0x00, 0x20, 0x00, 0x81, digits));
            if (verified.getSW() != 0x9000) {
                return "wrong PIN, " + (verified.getSW2() & 0x0F) + " tries left";
            }
            byte[] name = channel.transmit(new CommandAPDU(0x00, 0xB0, 0x00, 0x00, 256)).getData();
            return new String(name, StandardCharsets.UTF_8);
        } finally {
            card.disconnect(true);
        }
    }

    /** A card in the reader, which answers command APDUs with response APDUs, or with null is pulled out. */
    static class Inserted implements AutoCloseable {
        private volatile Socket socket;
        private volatile boolean isRemoved;

        Inserted(UnaryOperator<byte[]> answer) throws IOException {
            tryToConnect();
            Thread thread = new Thread(() -> serve(answer));
            thread.setDaemon(true);
            thread.start();
        }

        private void tryToConnect() throws IOException {
            try {
                socket = new Socket("127.0.0.1", 35963);
                socket.setTcpNoDelay(true);
            } catch (ConnectException exception) {
                // The program opens the port with its first context.
                socket = null;
            }
        }

        private void serve(UnaryOperator<byte[]> answer) {
            try {
                while (socket == null && !isRemoved) {
                    Thread.sleep(2);
                    tryToConnect();
                }
                DataInputStream input = new DataInputStream(socket.getInputStream());
                DataOutputStream output = new DataOutputStream(socket.getOutputStream());
                while (!isRemoved) {
                    byte[] message = input.readNBytes(input.readUnsignedShort());
                    // Power off, power on and reset have no answer.
                    if (message.length == 1 && message[0] != 4) {
                        continue;
                    }
                    // T=1 at 372/1 (ISO/IEC 7816-3, clause 8).
                    byte[] response = message.length == 1 ? HexFormat.of().parseHex("3B800181") : answer.apply(message);
                    if (response == null) {
                        close();
                        return;
                    }
                    byte[] whole = new byte[2 + response.length];
                    whole[0] = (byte) (response.length >> 8);
                    whole[1] = (byte) response.length;
                    System.arraycopy(response, 0, whole, 2, response.length);
                    output.write(whole);
                }
            } catch (IOException | InterruptedException end) {
                // The reader is gone, or the card was removed.
            }
        }

        @Override
        public void close() throws IOException {
            isRemoved = true;
            if (socket != null) {
                socket.close();
            }
        }
    }

    /** The card that the program expects. It is pulled out by the command with the instruction removedBy. */
    static UnaryOperator<byte[]> badge(int removedBy) {
        int[] tries = {3};
        return command -> {
            int instruction = command[1] & 0xFF;
            byte[] data = command.length > 5 ? Arrays.copyOfRange(command, 5, command.length) : new byte[0];
            if (instruction == removedBy) {
                return null;
            } else if (instruction == 0xA4) {
                return HexFormat.of().parseHex(Arrays.equals(data, AID) ? "9000" : "6A82");
            } else if (instruction == 0x20) {
                boolean isRight = new String(data, StandardCharsets.US_ASCII).equals("1234");
                return HexFormat.of().parseHex(isRight ? "9000" : "63C" + --tries[0]);
            }
            return "Ada Lovelace\u0090\0".getBytes(StandardCharsets.ISO_8859_1);
        };
    }

    /** The tests. */
    static class Tests {
        static void opensForABadgeAndItsPin() throws Exception {
            try (Inserted card = new Inserted(badge(0))) {
                check("Ada Lovelace", open("1234"));
            }
        }

        static void staysClosedAfterAWrongPin() throws Exception {
            try (Inserted card = new Inserted(badge(0))) {
                check("wrong PIN, 2 tries left", open("0000"));
                check("wrong PIN, 1 tries left", open("1111"));
            }
        }

        static void staysClosedIfTheBadgeIsRemovedInTheMiddleOfACommand() throws Exception {
            for (int command : new int[] {0xA4, 0x20, 0xB0}) {
                try (Inserted card = new Inserted(badge(command))) {
                    throw new AssertionError("the door answers " + open("1234"));
                } catch (CardException removed) {
                    // As it should be.
                }
            }
        }

        private static void check(String expected, String found) {
            if (!expected.equals(found)) {
                throw new AssertionError("the door answers " + found + ", not " + expected);
            }
        }
    }

    /** Runs the tests. */
    public static void main(String[] arguments) throws Exception {
        Tests.opensForABadgeAndItsPin();
        Tests.staysClosedAfterAWrongPin();
        Tests.staysClosedIfTheBadgeIsRemovedInTheMiddleOfACommand();
        System.out.println("3 tests passed");
    }
}
