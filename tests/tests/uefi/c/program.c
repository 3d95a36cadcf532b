/* A program in C that uses each smart card reader with the calls, the buffers and the order of calls of the
 * protocol's published samples. Nothing in it knows which driver it runs on. */

#include <efi.h>
#include <efilib.h>

#include "smart_card_reader.h"

/* What the samples have room for. */
#define NAME_LENGTH 100
#define ATR_LENGTH 33
#define APDU_LENGTH (256 + 2)

#define FEATURE_VERIFY_PIN_DIRECT 0x06
#define FEATURE_GET_TLV_PROPERTIES 0x12

/* PC/SC part 10, clause 2.2. The samples read the value in the processor's byte order. */
struct feature {
	UINT8 tag;
	UINT8 length;
	UINT32 value;
} __attribute__((packed));

_Static_assert(sizeof(struct smart_card_reader) == 6 * sizeof(void *), "six functions");
_Static_assert(sizeof(struct feature) == 6, "a tag, a length and four bytes");

static void print_bytes(const UINT8 *bytes, UINTN length)
{
	for (UINTN i = 0; i < length; i++)
		Print(L"%02x", bytes[i]);
	Print(L"\n");
}

/* Prints a failure; whether there is none. */
static BOOLEAN succeeded(const CHAR16 *call, EFI_STATUS status)
{
	if (EFI_ERROR(status))
		Print(L"# C: %s: %r\n", call, status);
	return !EFI_ERROR(status);
}

static BOOLEAN show_status(struct smart_card_reader *reader)
{
	CHAR16 name[NAME_LENGTH];
	UINTN name_length = sizeof name;
	UINT8 atr[ATR_LENGTH];
	UINTN atr_length = sizeof atr;
	UINT32 state, protocol;

	if (!succeeded(L"status", reader->status(reader, name, &name_length, &state, &protocol, atr, &atr_length)))
		return FALSE;
	/* The length is in bytes, with the final NUL. */
	Print(L"# C: %s, %d, state %d, protocol %d, ATR %d\n", name, name_length == StrSize(name), state, protocol,
	      atr_length);
	return state != CARD_ABSENT;
}

static BOOLEAN transmit(struct smart_card_reader *reader, UINT8 *command, UINTN length)
{
	UINT8 response[APDU_LENGTH];
	UINTN response_length = sizeof response;

	if (!succeeded(L"transmit", reader->transmit(reader, command, length, response, &response_length)))
		return FALSE;
	Print(L"# C: response ");
	print_bytes(response, response_length);
	return TRUE;
}

static BOOLEAN show_features(struct smart_card_reader *reader)
{
	UINT8 answer[256], properties[256];
	UINTN length = sizeof answer;
	UINT8 no_input[1];

	/* The samples give NULL here, and an array without elements. */
	if (!succeeded(L"features", reader->control(reader, GET_FEATURE_REQUEST, no_input, 0, answer, &length)))
		return FALSE;
	length = sizeof answer;
	if (!succeeded(L"features", reader->control(reader, GET_FEATURE_REQUEST, NULL, 0, answer, &length)))
		return FALSE;
	if (length % sizeof(struct feature) != 0)
		Print(L"# C: features of %d bytes\n", length);
	const struct feature *features = (const struct feature *)answer;
	for (UINTN i = 0; i < length / sizeof *features; i++) {
		UINTN room = sizeof properties;
		if (features[i].tag == FEATURE_VERIFY_PIN_DIRECT)
			Print(L"# C: a PIN pad\n");
		if (features[i].tag != FEATURE_GET_TLV_PROPERTIES)
			continue;
		if (!succeeded(L"properties",
			       reader->control(reader, features[i].value, NULL, 0, properties, &room)))
			return FALSE;
		/* Tags and lengths fill the answer. */
		UINTN at = 0;
		while (at + 1 < room)
			at += 2 + properties[at + 1];
		Print(L"# C: properties %d\n", at == room);
	}
	return TRUE;
}

static BOOLEAN show_atr(struct smart_card_reader *reader)
{
	UINT8 atr[256];
	UINTN length = sizeof atr;

	if (!succeeded(L"attribute", reader->get_attribute(reader, ATTRIBUTE_ATR_STRING, atr, &length)))
		return FALSE;
	Print(L"# C: ATR ");
	print_bytes(atr, length);
	return TRUE;
}

static void use_reader(struct smart_card_reader *reader)
{
	static UINT8 select[] = { 0x00, 0xA4, 0x04, 0x00, 0x0A, 0xA0, 0x00, 0x00,
				  0x00, 0x62, 0x03, 0x01, 0x0C, 0x06, 0x01 };
	static UINT8 hello[] = { 0x00, 0x00, 0x00, 0x00 };
	static UINT8 other[] = { 0x00, 0xA4, 0x04, 0x00, 0x06, 0xA0, 0x00, 0x00, 0x00, 0x18, 0xFF };
	UINT32 protocol;

	if (!show_status(reader))
		return;
	if (!succeeded(L"connect",
		       reader->connect(reader, AM_CARD, CA_COLDRESET, PROTOCOL_T0 | PROTOCOL_T1, &protocol)))
		return;
	Print(L"# C: protocol %d\n", protocol);
	if (transmit(reader, select, sizeof select) && transmit(reader, hello, sizeof hello) &&
	    transmit(reader, other, sizeof other) && show_features(reader))
		show_atr(reader);
	succeeded(L"disconnect", reader->disconnect(reader, CA_NORESET));
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
	EFI_GUID guid = SMART_CARD_READER_GUID;
	EFI_HANDLE *handles;
	UINTN count;

	InitializeLib(image, system);
	EFI_STATUS status = uefi_call_wrapper(BS->LocateHandleBuffer, 5, ByProtocol, &guid, NULL, &count, &handles);
	if (!succeeded(L"LocateHandleBuffer", status))
		return status;
	for (UINTN i = 0; i < count; i++) {
		struct smart_card_reader *reader;
		status = uefi_call_wrapper(BS->HandleProtocol, 3, handles[i], &guid, (VOID **)&reader);
		if (succeeded(L"HandleProtocol", status))
			use_reader(reader);
	}
	FreePool(handles);
	Print(L"# C: end\n");
	return EFI_SUCCESS;
}
