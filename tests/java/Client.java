import java.util.List;
import javax.smartcardio.Card;
import javax.smartcardio.CardChannel;
import javax.smartcardio.CardException;
import javax.smartcardio.CardTerminal;
import javax.smartcardio.CardTerminals;
import javax.smartcardio.CommandAPDU;
import javax.smartcardio.ResponseAPDU;
import javax.smartcardio.TerminalFactory;

/** A client in javax.smartcardio: lists, connects, transmits, or monitors cards. */
public class Client {
    private static final byte[] AID = {(byte) 0xA0, 0, 0, 0, 0x62, 3, 1, 0x0C, 6, 1};

    public static void main(String[] arguments) throws Exception {
        CardTerminals terminals = TerminalFactory.getInstance("PC/SC", null).terminals();
        if (arguments.length > 0) {
            monitor(terminals);
            return;
        }
        for (CardTerminal terminal : terminals.list()) {
            System.out.println(terminal.getName() + " " + terminal.isCardPresent());
            if (!terminal.isCardPresent()) {
                continue;
            }
            Card card = terminal.connect("*");
            System.out.println(card.getProtocol() + " " + card.getATR());
            card.beginExclusive();
            CardChannel channel = card.getBasicChannel();
            ResponseAPDU answer = channel.transmit(new CommandAPDU(0, 0xA4, 4, 0, AID));
            System.out.println(Integer.toHexString(answer.getSW()));
            answer = channel.transmit(new CommandAPDU(0, 0, 0, 0));
            System.out.println(new String(answer.getData(), "US-ASCII") + Integer.toHexString(answer.getSW()));
            card.endExclusive();
            try {
                card.transmitControlCommand(0x42000001, new byte[] {1, 2, 3});
            } catch (CardException exception) {
                System.out.println(exception.getMessage());
            }
            card.disconnect(true);
        }
    }

    private static void monitor(CardTerminals terminals) throws CardException {
        List<CardTerminal> first = terminals.list();
        // The first call takes stock.
        terminals.waitForChange(1);
        System.out.println("ready " + first.size());
        System.out.flush();
        while (terminals.waitForChange(60000)) {
            for (CardTerminal terminal : terminals.list(CardTerminals.State.CARD_INSERTION)) {
                System.out.println("present " + terminal.getName());
            }
            for (CardTerminal terminal : terminals.list(CardTerminals.State.CARD_REMOVAL)) {
                System.out.println("absent " + terminal.getName());
            }
            System.out.flush();
        }
    }
}
